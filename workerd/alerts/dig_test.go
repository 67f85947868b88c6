package alerts_test

import (
	"fmt"
	"strconv"
	"strings"
)

// dig is the value at a dotted path of a JSON value, as text.
func dig(v any, path string) string {
	for key := range strings.SplitSeq(path, ".") {
		switch c := v.(type) {
		case map[string]any:
			v = c[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(c) {
				return ""
			}
			v = c[i]
		default:
			return ""
		}
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
