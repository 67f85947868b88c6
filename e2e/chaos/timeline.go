package chaos

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

// The measures of a timeline, in pixels.
const (
	lineWidth  = 1200
	lineLeft   = 180
	lineRow    = 20
	lineCurve  = 120
	lineMargin = 10
)

// Colours are one for each kind of fault, and for each server.
var (
	faultColours = map[Kind]string{
		ServerKill: "#b3202c", ServersKill: "#7a0010", ServerStop: "#e07b39", ServerApart: "#8e44ad", ServerLate: "#c9a0dc", StepDown: "#2c6fbb",
		WorkerCut: "#8e44ad", WorkerLate: "#c9a0dc", HostKill: "#7a0010", GuardKill: "#b3202c", EngineKill: "#d9534f", ChildKill: "#f0a3a0",
		GuardStop: "#e07b39", EngineStop: "#f2a65a", ChildStop: "#f7d08a", Deploy: "#3a9b5c", TurnsPurge: "#222222", TurnsRemove: "#555555",
		Blind: "#888888", Ended: "#000000",
	}
	serverColours = []string{"#4878a8", "#a8884a", "#5f9e6e", "#9e5f8a", "#777777"}
)

// Timeline draws a run: a row for each server, worker and office, the faults as marks, and how many jobs finished in
// each second. It is an SVG document that needs nothing else.
func Timeline(r Result) string {
	l := line{r: r, scale: float64(lineWidth-lineLeft-lineMargin) / max(float64(r.End-r.Start), 1)}
	l.y = 2 * lineRow
	for i := range r.Servers {
		l.row("server "+serverName(i), func(d Done) bool { return d.Kind.OfServers() && (d.Server == i || d.Kind == ServersKill) })
	}
	for i, name := range r.Workers {
		l.row("worker "+name, func(d Done) bool {
			return !d.Kind.OfServers() && !ofOperator(d.Kind) && d.Worker == i
		})
	}
	l.row("operator", func(d Done) bool { return ofOperator(d.Kind) })
	l.offices()
	l.curve()
	l.axis()
	l.legend()
	verdict := "passed"
	if len(r.Problems()) > 0 {
		verdict = "FAILED"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", lineWidth, l.y)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", lineWidth, l.y)
	fmt.Fprintf(&b, `<text x="%d" y="18" font-size="14">seed %d, %d servers: %d jobs, %d runs, %d faults; %s</text>`+"\n",
		lineMargin, r.Seed, r.Servers, r.Report.Jobs, r.Report.Runs, len(r.Faults), verdict)
	b.WriteString(l.b.String())
	b.WriteString("</svg>\n")
	return b.String()
}

func ofOperator(k Kind) bool { return k == TurnsPurge || k == TurnsRemove || k == Blind }

func serverName(i int) string { return fmt.Sprintf("n%d", i+1) }

// line is a timeline while it is drawn, from above.
type line struct {
	r     Result
	scale float64 // pixels a nanosecond
	y     int
	b     strings.Builder
}

func (l *line) x(t int64) float64 {
	return lineLeft + float64(min(max(t, l.r.Start), l.r.End)-l.r.Start)*l.scale
}

func (l *line) text(x float64, y int, text string) {
	fmt.Fprintf(&l.b, `<text x="%.1f" y="%d">%s</text>`+"\n", x, y, escape(text))
}

func (l *line) bar(from, to int64, y, high int, colour, title string) {
	fmt.Fprintf(&l.b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"><title>%s</title></rect>`+"\n",
		l.x(from), y, max(l.x(to)-l.x(from), 2), high, colour, escape(title))
}

func (l *line) row(name string, of func(Done) bool) {
	l.text(lineMargin, l.y+14, name)
	fmt.Fprintf(&l.b, `<rect x="%d" y="%d" width="%d" height="%d" fill="#f4f4f4"/>`+"\n", lineLeft, l.y+2, lineWidth-lineLeft-lineMargin, lineRow-4)
	for _, d := range l.r.Faults {
		if of(d) {
			l.bar(d.Began, d.Over, l.y+2, lineRow-4, faultColours[d.Kind], fmt.Sprintf("%s %s, %s", d.Kind, d.Who, round(time.Duration(d.Over-d.Began))))
		}
	}
	l.y += lineRow
}

// offices draws who led what.
func (l *line) offices() {
	if l.r.Servers == 1 {
		return
	}
	l.y += lineRow / 2
	var names []string
	by := map[string][]Lead{}
	for _, lead := range l.r.Leads {
		if by[lead.Of] == nil {
			names = append(names, lead.Of)
		}
		by[lead.Of] = append(by[lead.Of], lead)
	}
	for _, name := range names {
		l.text(lineMargin, l.y+11, "leader of "+name)
		for i, lead := range by[name] {
			to := l.r.End
			if i+1 < len(by[name]) {
				to = by[name][i+1].T
			}
			if lead.Server >= 0 && to > l.r.Start {
				l.bar(lead.T, to, l.y+3, 9, serverColours[lead.Server%len(serverColours)], serverName(lead.Server)+" leads "+name)
			}
		}
		l.y += 15
	}
}

// curve draws how many jobs finished in each second.
func (l *line) curve() {
	l.y += lineRow / 2
	counts := make([]int, int((l.r.End-l.r.Start)/1e9)+1)
	most := 1
	for _, t := range l.r.Finishes {
		if i := int((t - l.r.Start) / 1e9); i >= 0 && i < len(counts) {
			counts[i]++
			most = max(most, counts[i])
		}
	}
	l.text(lineMargin, l.y+14, "jobs finished in")
	l.text(lineMargin, l.y+28, fmt.Sprintf("a second, most %d", most))
	var points strings.Builder
	for i, n := range counts {
		fmt.Fprintf(&points, "%.1f,%.1f ", l.x(l.r.Start+int64(i)*1e9), float64(l.y+lineCurve)-float64(n)/float64(most)*lineCurve)
	}
	fmt.Fprintf(&l.b, `<polyline points="%s" fill="none" stroke="#2c6fbb" stroke-width="1.5"/>`+"\n", strings.TrimSpace(points.String()))
	l.y += lineCurve
}

// axis draws the seconds, and where the faults end.
func (l *line) axis() {
	step := int64(10e9)
	for (l.r.End-l.r.Start)/step > 20 {
		step *= 2
	}
	for t := l.r.Start; t <= l.r.End; t += step {
		fmt.Fprintf(&l.b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#cccccc" stroke-dasharray="2,3"/>`+"\n", l.x(t), l.x(t), 2*lineRow, l.y)
		l.text(l.x(t)-8, l.y+12, fmt.Sprintf("%d s", (t-l.r.Start)/1e9))
	}
	fmt.Fprintf(&l.b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#3a9b5c"><title>the last fault is over</title></line>`+"\n",
		l.x(l.r.Calm), l.x(l.r.Calm), 2*lineRow, l.y)
	l.y += lineRow
}

func (l *line) legend() {
	x := float64(lineMargin)
	item := func(colour, text string) {
		wide := float64(22 + 6*len(text))
		if x+wide > lineWidth {
			x, l.y = lineMargin, l.y+16
		}
		fmt.Fprintf(&l.b, `<rect x="%.1f" y="%d" width="10" height="10" fill="%s"/>`+"\n", x, l.y+3, colour)
		l.text(x+14, l.y+12, text)
		x += wide
	}
	for _, k := range Kinds() {
		if n := l.r.Count(k); n > 0 {
			item(faultColours[k], fmt.Sprintf("%s, %d", k, n))
		}
	}
	if l.r.Servers > 1 {
		for i := range l.r.Servers {
			item(serverColours[i%len(serverColours)], serverName(i)+" leads")
		}
	}
	l.y += 24
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
