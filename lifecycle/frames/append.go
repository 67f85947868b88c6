package frames

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// The encoders are written out by hand: they run once for each job, and reflection would cost more than the pipe.
// Each appends one whole frame to b and returns it, as append does.

// AppendJob appends the frame that hands a job to a child. `len` always stands in it, so that a child may read its
// body without asking whether there is one.
func AppendJob(b []byte, j *Job) []byte {
	b = strconv.AppendUint(append(b, `{"run":`...), j.Run, 10)
	b = appendField(b, "queue", j.Queue)
	b = appendField(b, "entity", j.Entity)
	b = appendField(b, "kind", j.Kind)
	b = appendField(b, "id", j.ID)
	b = strconv.AppendUint(append(b, `,"seq":`...), j.Seq, 10)
	b = strconv.AppendUint(append(b, `,"fence":`...), j.Fence, 10)
	b = strconv.AppendInt(append(b, `,"attempt":`...), int64(j.Attempt), 10)
	b = strconv.AppendInt(append(b, `,"timeout_ms":`...), milliseconds(j.Timeout), 10)
	b = appendHeaders(b, j.Headers)
	if j.Traceparent != "" {
		b = appendField(b, "traceparent", j.Traceparent)
	}
	return appendBody(b, j.Body)
}

// AppendCancel appends the frame that tells a child to give up a run.
func AppendCancel(b []byte, run uint64) []byte {
	return append(strconv.AppendUint(append(b, `{"cancel":`...), run, 10), "}\n"...)
}

// AppendStop appends the frame that tells a child to finish what runs and exit.
func AppendStop(b []byte) []byte { return append(b, "{\"stop\":true}\n"...) }

// AppendReady appends a child's first frame.
func AppendReady(b []byte, concurrency int) []byte {
	b = strconv.AppendInt(append(b, `{"ready":true,"concurrency":`...), int64(concurrency), 10)
	return append(strconv.AppendInt(append(b, `,"version":`...), Version, 10), "}\n"...)
}

// AppendDone appends the answer that a run is done, with its result if there is one.
func AppendDone(b []byte, run uint64, result []byte) []byte {
	b = strconv.AppendUint(append(b, `{"done":`...), run, 10)
	if len(result) == 0 {
		return append(b, "}\n"...)
	}
	return appendBody(b, result)
}

// AppendFail appends the answer that a run failed. With retry false it failed for good; retryIn 0 leaves the time of
// the next attempt to the queue.
func AppendFail(b []byte, run uint64, message string, retry bool, retryIn time.Duration) []byte {
	b = strconv.AppendUint(append(b, `{"fail":`...), run, 10)
	b = appendField(b, "error", message)
	b = strconv.AppendBool(append(b, `,"retry":`...), retry)
	if retryIn > 0 {
		b = strconv.AppendInt(append(b, `,"retry_in_ms":`...), milliseconds(retryIn), 10)
	}
	return append(b, "}\n"...)
}

// AppendProgress appends how far a run is.
func AppendProgress(b []byte, run uint64, at, of float64, note string) []byte {
	b = strconv.AppendUint(append(b, `{"progress":`...), run, 10)
	b = appendNumber(append(b, `,"at":`...), at)
	b = appendNumber(append(b, `,"of":`...), of)
	b = appendField(b, "note", note)
	return append(b, "}\n"...)
}

// milliseconds rounds up: a timeout of less than one must not become "no limit".
func milliseconds(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return ms
}

// appendNumber writes a number as JSON can; what it cannot (infinities, NaN) becomes 0.
func appendNumber(b []byte, n float64) []byte {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		n = 0
	}
	return strconv.AppendFloat(b, n, 'g', -1, 64)
}

func appendField(b []byte, key, value string) []byte {
	b = append(append(append(b, `,"`...), key...), `":`...)
	return appendString(b, value)
}

// appendHeaders writes them sorted: the same job is the same bytes.
func appendHeaders(b []byte, headers map[string]string) []byte {
	b = append(b, `,"headers":{`...)
	if len(headers) > 0 {
		for i, name := range slices.Sorted(maps.Keys(headers)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			b = appendString(b, headers[name])
		}
	}
	return append(b, '}')
}

func appendBody(b, body []byte) []byte {
	b = strconv.AppendInt(append(b, `,"len":`...), int64(len(body)), 10)
	return append(append(b, "}\n"...), body...)
}

const hexDigits = "0123456789abcdef"

// appendString writes s as a JSON string. Bytes that are no UTF-8 become U+FFFD, as encoding/json does it.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[start:i]...), `\ufffd`...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
