package nearest

import (
	"slices"

	"github.com/spf13/pflag"
)

// Flag says of a flag that is not in the set what it is called, and which one was meant; hint may be empty.
func Flag(unknown *pflag.NotExistError, set *pflag.FlagSet) (text, hint string) {
	word := unknown.GetSpecifiedName()
	if len(word) == 1 {
		return "unknown flag -" + word, ""
	}
	var known []string
	set.VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	slices.Sort(known)
	if n := Word(word, known); n != "" {
		hint = "did you mean --" + n + "?"
	}
	return "unknown flag --" + word, hint
}
