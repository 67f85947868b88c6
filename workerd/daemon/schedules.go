package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
)

// schedulesStop is how long the last steps of schedules may take. Another worker makes those that are left.
const schedulesStop = 2 * time.Second

// keepSchedules has schedules fired, and moves delayed jobs that are due to their lanes: also while it is quiet, because
// that takes no slot.
func (d *daemon) keepSchedules(queues []subjects.Queue) (err error) {
	d.schedules, err = schedule.Start(schedule.Options{Conn: d.conn, Queues: queues, Worker: d.id, Log: d.log})
	if err != nil {
		return fmt.Errorf("start schedules: %w", err)
	}
	return nil
}

// stopSchedules ends that, before the connection is closed. Without a server it does not wait for the end.
func (d *daemon) stopSchedules() {
	if d.schedules == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), schedulesStop)
	defer cancel()
	d.schedules.Stop(ctx)
}
