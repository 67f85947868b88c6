package main

import "io"

// output passes on what is written, and says once that nobody reads it any more.
type output struct {
	to   io.Writer
	gone func()
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil {
		o.gone()
	}
	return n, err
}
