#!/bin/sh
# The shell child: one process per job. HISTORY_CHILD is the built program of examples/history/child.
exec "${HISTORY_CHILD:?set it to the built program of examples/history/child}" exec
