package guardian

// Notes reports whether what was noted last waits to be told, and somebody lives to be told.
func Notes(l *Link) bool {
	select {
	case <-l.Lost():
		return false
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held != nil
}
