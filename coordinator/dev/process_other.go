//go:build !linux

package dev

import (
	"os"
	"os/exec"
)

// apart has nothing to do where there are no process groups to speak of.
func apart(*exec.Cmd) {}

// lockFile makes the file; only one process can.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}
