package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"github.com/seriatim/seriatim/internal/problem"
)

// ErrNotRoot is a pool that is to run as another user, in a process that may not change its own.
var ErrNotRoot = errors.New("only root can run processes as another user")

// identity is who a pool's processes run as.
type identity struct {
	credential *syscall.Credential // nil is who we are
	env        map[string]string   // what programs look up to learn it
}

// identity finds the user in the system's files. The user is changed between fork and exec, by the thread that asks for
// the signal at the parent's death afterwards: a program such as setpriv or su would lose it.
func (c *Config) identity() (identity, error) {
	if c.User == "" {
		return identity{}, nil
	}
	op := fmt.Sprintf("start pool %q as user %q", c.Name, c.User)
	u, err := user.Lookup(c.User)
	if err != nil {
		if _, bad := strconv.Atoi(c.User); bad != nil {
			return identity{}, problem.New(op, err, "create the user, or correct the pool's user")
		}
		if u, err = user.LookupId(c.User); err != nil {
			return identity{}, problem.New(op, err, "create the user, or correct the pool's user")
		}
	}
	id := identity{env: map[string]string{"HOME": u.HomeDir, "USER": u.Username, "LOGNAME": u.Username}}
	if u.Uid == strconv.Itoa(os.Geteuid()) {
		return id, nil
	}
	if os.Geteuid() != 0 {
		return identity{}, problem.New(op, ErrNotRoot, "start workerd as root, or as that user and leave the pool's user out")
	}
	groups, err := u.GroupIds()
	if err != nil {
		return identity{}, problem.New(op, err, "")
	}
	id.credential = &syscall.Credential{}
	if id.credential.Uid, err = number(u.Uid); err != nil {
		return identity{}, problem.New(op, err, "")
	}
	if id.credential.Gid, err = number(u.Gid); err != nil {
		return identity{}, problem.New(op, err, "")
	}
	for _, g := range groups {
		n, err := number(g)
		if err != nil {
			return identity{}, problem.New(op, err, "")
		}
		id.credential.Groups = append(id.credential.Groups, n)
	}
	return id, nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}
