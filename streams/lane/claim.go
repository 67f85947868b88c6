package lane

import "time"

// claimFor writes a claim: r says job, counts and marks; the rest is the holder's. expect is the sequence that must
// still be the lane's last record.
func (m *machine) claimFor(r Record, expect uint64) {
	if r.State == "" {
		r.State = Running
	}
	r.Session, r.Worker, r.Created = m.v.Session, m.v.Worker, m.v.Created
	if !r.moving() {
		r.Attempt = r.Counts.Attempt()
	}
	r.Since = millis(m.v.ServerNow)
	m.put(r, expect, m.ttlOf(r))
}

// ttlOf: a record that counts something must not be forgotten; any other may.
func (m *machine) ttlOf(r Record) time.Duration {
	switch {
	case r.State == Done:
		return m.v.ClaimTTL
	case !r.Counts.Zero() || r.State == Waiting || r.State == Halted || r.Absolved || r.moving():
		return 0
	}
	return m.v.ClaimTTL
}

func (m *machine) put(r Record, expect uint64, ttl time.Duration) {
	m.want, m.wantExpect, m.wantTTL = r, expect, ttl
	m.ask(&m.write)
	m.sendWrite()
}

func (m *machine) sendWrite() {
	m.do(WriteClaim{
		Op: m.write.op, Record: m.want, Expect: m.wantExpect, TTL: m.wantTTL,
		Any: m.v.Broken.Off(RuleClaimCAS),
	})
}

// stored: the record stands. What follows depends on what the lane was waiting for.
func (m *machine) stored(seq uint64) {
	m.claim, m.claimTTL, m.claimAt = m.want, m.wantTTL, m.write.first
	m.claim.Seq = seq
	m.claimed, m.claimLoops = true, 0
	m.write = request{}
	switch m.Phase {
	case Opening, Examining:
		m.haveClaim()
	case Marking:
		if m.claim.State == Done {
			m.nextJob()
		} else {
			m.mark() // that was a rewrite that was still on its way
		}
	case Parking:
		if m.claim.State == m.parkAs.State && m.claim.Counts == m.parkAs.Counts && m.claim.moving() == m.parkAs.moving() {
			m.parked()
		} else {
			m.writePark()
		}
	case Reclaiming:
		m.reclaimed()
	}
}

// refused: another record stands. A lane that was being opened looks closer; one that runs has lost its claim.
func (m *machine) refused() {
	switch m.Phase {
	case Opening, Examining:
		m.claimLoops++
		if m.claimLoops > maxClaimLoops {
			m.giveBack(m.busyDelay())
			return
		}
		m.examine()
	case InRun:
		m.loseClaim()
	case Killing:
		m.dropped = true
	case Settling, Moving, Parking:
		m.release(m.busyDelay())
	case Reclaiming:
		m.giveBack(m.busyDelay())
	case Marking:
		m.end()
	}
}

// maxClaimLoops is how often a lane is examined in one turn when others keep writing its claim.
const maxClaimLoops = 4

// loseClaim ends the run at once: somebody else may have the lane any moment.
func (m *machine) loseClaim() {
	m.dropped = true
	m.Phase = Killing
	m.do(Kill{Fence: m.fence, Now: true})
}

// keepClaim rewrites the claim of a job that takes long, so that it does not expire under the job, and gives the job up
// when that could not be confirmed in time.
func (m *machine) keepClaim() {
	switch m.Phase {
	case InRun, Killing, Moving, Settling, Parking, Stuck:
	default:
		return
	}
	if !m.claimed || m.cut || m.claimTTL == 0 || m.v.Broken.Off(RuleLongClaims) {
		return
	}
	if m.claimOver() {
		m.claimed = false
		switch m.Phase {
		case InRun:
			m.loseClaim()
		case Killing:
			m.dropped = true
		case Moving, Settling, Parking:
			// No further delete may leave: the lane may be somebody else's.
			m.release(m.busyDelay())
		}
		return
	}
	every := m.v.LongEvery
	if m.claimTTL != m.v.LongTTL {
		every = m.v.LongAfter
	}
	if !m.write.open() && m.v.Now >= m.claimAt+every {
		r := m.claim
		r.Fence = m.fence
		m.put(r, m.claim.Seq, m.v.LongTTL)
	}
}

// claimOver says that the claim may expire any moment, or has.
func (m *machine) claimOver() bool {
	until := m.ClaimUntil(m.v.ClaimMargin())
	return until != 0 && m.v.Now >= until && !m.v.Broken.Off(RuleLongClaims)
}

// busyDelay grows with the deliveries of the turn.
func (m *machine) busyDelay() time.Duration {
	d := m.v.BusyMin << min(max(m.Turn.Delivered-1, 0), 10)
	return spread(min(d, m.v.BusyMax), m.v)
}

// spread takes a random part between half and all of d, so that holders do not come back in step.
func spread(d time.Duration, v *View) time.Duration {
	return d/2 + time.Duration(v.Random()*float64(d/2))
}
