// Package control is how people and scripts on the same host find a running workerd and talk to it: a folder with a file
// and a unix socket for each workerd, and the commands quiet, stop and status.
//
// The folder is the first of these that can be used: the configured one, systemd's, $XDG_RUNTIME_DIR/seriatim,
// /run/seriatim, and seriatim-<uid> in the folder for temporary files. The commands look into all of them. The socket
// answers what the HTTP address answers (package probes), also where that is switched off.
//
// # Invariants
//
// Folder and files belong to their user alone (0700, 0600). A file names a process by pid, start time and pid
// namespace, so one that was left behind by a workerd that died is never taken for a living one: not when its pid is
// another's by now, not in another container that shares the folder. Nothing is signalled whose owner is not the file's.
// The pid is the top process's, which outlives its engine; the file is written anew by each engine.
//
// # On failure
//
// Without any folder that can be written, as with a file system that is read-only, a workerd runs without; whoever
// looks for it then is told what to mount. Files of the dead are removed by whoever finds them.
package control
