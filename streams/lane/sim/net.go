package sim

import "time"

// route says when a message between node n and the server arrives, or that it never does. The messages of one node may
// overtake each other: that is harsher than a connection is.
func (w *world) route(n *node) (time.Duration, bool) {
	if w.calm {
		return w.now + 100*time.Microsecond + w.upTo(time.Millisecond), true
	}
	at := w.now + 100*time.Microsecond + w.upTo(2*time.Millisecond)
	if w.chance(w.p.Slow) {
		at += w.upTo(w.p.SlowMax)
	}
	if w.chance(w.p.Loss) {
		return 0, false
	}
	if !n.cutOff() {
		return at, true
	}
	if !w.chance(w.p.Late) {
		return 0, false
	}
	at = max(at, n.cutUntil+w.upTo(2*time.Second))
	return at, at-w.now <= w.p.LateMax
}

// call sends a request of node n. serve runs at the server when it arrives and returns what the node is to do with the
// answer; nil is no answer. broken is what the node does when its connection says at once that nobody is there.
func (w *world) call(n *node, serve func() func(), broken func()) {
	gen, epoch := n.gen, w.server.epoch
	if w.server.down && broken != nil && w.chance(.5) {
		w.in(w.upTo(20*time.Millisecond), func() { n.post(gen, broken) })
		return
	}
	at, ok := w.route(n)
	if !ok {
		return
	}
	w.at(at, func() {
		if w.server.down || w.server.epoch != epoch || w.now < w.server.leaderlessTo {
			return
		}
		answer := serve()
		if answer == nil {
			return
		}
		back, ok := w.route(n)
		if !ok {
			return
		}
		if n.jamUntil > w.now && !w.calm {
			back = max(back, n.jamUntil)
		}
		w.at(back, func() {
			if w.server.epoch == epoch {
				n.post(gen, answer)
			}
		})
	})
}
