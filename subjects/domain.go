package subjects

import (
	"strings"

	"github.com/seriatim/seriatim/internal/problem"
)

// A JetStream domain is a server's, or a cluster's, own JetStream where leaf nodes join several of them. Who is connected
// elsewhere asks that domain by another prefix; a bucket's keys have it too when they are written, because $KV subjects stay
// within a domain. Jobs, turns, claims and acks travel as all subjects do.

// CheckDomain says whether that can be the name of a domain; an empty one, which is that of the server, can. The error is
// ErrDomain.
func CheckDomain(domain string) error {
	if strings.ContainsAny(domain, ".*>") || strings.ContainsFunc(domain, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return problem.New("read domain "+quote(domain), ErrDomain, "it is one word, as in the server's configuration: jetstream { domain: hub }")
	}
	return nil
}

// PrefixAPI is what comes before the subject of a request to JetStream in a domain; an empty one is that of the server.
func PrefixAPI(domain string) string {
	if domain == "" {
		return "$JS.API."
	}
	return "$JS." + domain + ".API."
}

// PrefixKV is what comes before a bucket's subject, $KV.…, when a key is written in a domain.
func PrefixKV(domain string) string {
	if domain == "" {
		return ""
	}
	return PrefixAPI(domain)
}
