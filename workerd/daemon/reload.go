package daemon

import (
	"errors"

	"github.com/seriatim/seriatim/workerd/config"
)

// reading is a configuration that was read anew, or why it could not be.
type reading struct {
	cfg *config.Config
	err error
}

var errNoReload = errors.New("this process cannot read its configuration anew")

// reload reads the configuration beside the main loop, which gets it through reread.
func (d *daemon) reload() {
	if d.reloading {
		d.again = true
		return
	}
	d.reloading = true
	d.notify(d.manager.Reloading())
	go func() { // ends by itself, and reread takes one
		if d.opts.Reload == nil {
			d.reread <- reading{err: errNoReload}
			return
		}
		cfg, err := d.opts.Reload()
		d.reread <- reading{cfg, err}
	}()
}

func (d *daemon) reloaded(r reading) {
	d.reloading = false
	if r.err != nil {
		d.log.Error().Err(r.err).Msg("the configuration stays as it is: the new one cannot be used")
	}
	d.notify(d.manager.Ready(d.serving()))
	if d.again {
		d.again = false
		d.reload()
	}
}
