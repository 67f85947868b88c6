//go:build !linux

package memory

import "errors"

func sharesMemory(int, int) (bool, error) { return false, errors.ErrUnsupported }
