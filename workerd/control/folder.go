package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seriatim/seriatim/internal/problem"
)

// RunDirVariable names the folder, for the daemon and for the commands.
const RunDirVariable = "SERIATIM_RUN_DIR"

// ErrNoFolder is a host without a folder that can be used.
var ErrNoFolder = errors.New("there is no folder for the control socket")

// Folders lists where a workerd may keep its files, in order of preference. A configured folder is the only one.
func Folders(configured string) []string {
	if configured == "" {
		configured = os.Getenv(RunDirVariable)
	}
	if configured != "" {
		return []string{configured}
	}
	var list []string
	if systemd, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); systemd != "" {
		list = append(list, systemd)
	}
	if user := os.Getenv("XDG_RUNTIME_DIR"); user != "" {
		list = append(list, filepath.Join(user, "seriatim"))
	}
	return append(list, "/run/seriatim", filepath.Join(os.TempDir(), "seriatim-"+strconv.Itoa(os.Getuid())))
}

// search adds to the folders where workerds may keep their files those that systemd makes for single units.
func search(configured string) []string {
	list := Folders(configured)
	if configured == "" && os.Getenv(RunDirVariable) == "" {
		units, _ := os.ReadDir("/run/seriatim") // what cannot be read has none
		for _, unit := range units {
			dir := filepath.Join("/run/seriatim", unit.Name())
			if info, err := os.Stat(dir); err == nil && info.IsDir() { // systemd may have made a link
				list = append(list, dir)
			}
		}
	}
	return list
}

// usable makes the folder if it is not there, and says whether files may be kept in it: it has to be our own, or root's
// that lets us in, so that nobody can put something else in our place.
func usable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if uid, ok := owner(info); ok && uid != os.Getuid() && uid != 0 {
		return fmt.Errorf("%s belongs to user %d", dir, uid)
	}
	if info.Mode()&os.ModeSymlink != 0 { // our own, or root's, as systemd makes them
		if info, err = os.Stat(dir); err != nil {
			return err
		}
		if uid, ok := owner(info); ok && uid != os.Getuid() && uid != 0 {
			return fmt.Errorf("%s leads to a folder of user %d", dir, uid)
		}
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no folder", dir)
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("%s may be written by others", dir)
	}
	return nil
}

// first is the first of the folders for which try succeeds.
func first(folders []string, try func(dir string) error) error {
	var errs []error
	for _, dir := range folders {
		err := usable(dir)
		if err == nil {
			err = try(dir)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return problem.New("make the control socket", fmt.Errorf("%w: %w", ErrNoFolder, errors.Join(errs...)),
		"mount a folder that can be written, and name it with run_dir or "+RunDirVariable)
}
