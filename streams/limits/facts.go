package limits

// Facts are what a limit is about, for people.
type Facts struct {
	// Limit is the bound; 0 is none.
	Limit int `json:"limit"`
	// Taken is how many permits the sessions that live have; it is above Limit for a while after that was lowered.
	Taken int `json:"taken"`
	// Workers is how many of them have one, and Waiting how many could run more.
	Workers int `json:"workers"`
	Waiting int `json:"waiting"`
	// Mine and InUse are this worker's permits, and its jobs.
	Mine  int `json:"mine"`
	InUse int `json:"in_use"`
}

// Full says that no job can start under the limit until another has ended.
func (f Facts) Full() bool { return f.Limit > 0 && f.Taken >= f.Limit }

// Count is what a document says under a limit of n; dead says which sessions are over.
func Count(d Document, n int, dead func(session string) bool) Facts {
	f := Facts{Limit: n}
	for s, share := range d.Shares {
		if !dead(s) {
			f.Taken += share
			f.Workers++
		}
	}
	for s := range d.Wants {
		if !dead(s) {
			f.Waiting++
		}
	}
	return f
}

// Facts tells of one limit.
func (m *Machine) Facts(name string) Facts {
	l := m.limits[name]
	if l == nil {
		return Facts{}
	}
	f := Count(l.doc, l.n, m.dead)
	f.Mine, f.InUse = m.share(l), l.inUse
	return f
}

// Full is the first of the limits under which no job can start here now; empty is none.
func (m *Machine) Full(names ...string) string {
	for _, name := range names {
		if l := m.limits[name]; l != nil && l.n > 0 && m.free(l) == 0 {
			return name
		}
	}
	return ""
}

// Bounds reports whether there is any limit at all: without one nothing needs to be asked.
func (m *Machine) Bounds() bool {
	for _, l := range m.order {
		if l.n > 0 {
			return true
		}
	}
	return false
}
