// Package deployments holds what Seriatim is deployed with: an image, and files for compose, Kubernetes, ECS, systemd,
// runit and NATS. It has no code, only the tests that keep the files true:
//
//   - what can be run is run: the image's entry point, the compose file's commands, the runit service, the servers;
//   - what has a checker of its own is given to it: systemd's, nats-server, and in kubernetes/check, a module of its own,
//     kustomize and the API's types;
//   - numbers that must fit together (how long a stop takes, and how long each platform waits for it; ports; paths) are
//     compared with the product's own.
//
// # When a tool is missing
//
// Some parts need a tool that not every machine has (Debian's packages systemd and runit) or root. Without it those
// parts are left out and the test says so, unless SERIATIM_TOOLS (as in `make check`) or SERIATIM_FULL is set: then the
// missing tool is the failure.
package deployments
