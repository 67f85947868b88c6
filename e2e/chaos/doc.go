// Package chaos runs a whole Seriatim while everything around it fails, on one server and on three.
package chaos
