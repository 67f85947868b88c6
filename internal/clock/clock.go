// Package clock reads the clock that leases are counted on: it never steps, and it goes on while the machine is
// suspended, unlike the monotonic reading of time.Now. A holder whose host slept past its lease must know it.
package clock
