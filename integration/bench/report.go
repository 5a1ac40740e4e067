package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
)

// report is everything that was measured. CPU figures are seconds per recorded second.
type report struct {
	seconds     float64
	idle        float64 // CPU of a server without calls
	capture     float64 // CPU of the server with FFmpeg held still
	captureHeld int     // children that were held
	layouts     []usage
	long        []usage
	naive       []usage
	idleMB      float64
	liveMB      float64 // median, with liveCalls
	peakMB      float64
	childrenMB  float64 // all FFmpeg children
	headMissing error

	streamsCPU float64 // of the server, for each of 3 × manyCalls streams
	streamsMB  float64 // resident memory with them
	flood      []floodStep
}

// What the project aims at.
const (
	aimCapture   = 0.005
	aimCompose   = 0.16
	aimReadyS    = 5
	aimMemoryMB  = 40
	aimMbps      = 2.5
	aimAudioPart = 0.2
	aimStreams   = 12.5 // live streams per CPU: 50 on 4
)

func (r report) print(w io.Writer) {
	if len(r.layouts) > 0 {
		r.printLayouts(w)
	}
	if r.liveMB > 0 {
		_, _ = fmt.Fprintf(w, "\nMemory (resident): server without calls %.0f MB; with %d live calls %.0f MB (median; peak %.0f MB); FFmpeg children together %.0f MB\n",
			r.idleMB, liveCalls, r.liveMB, r.peakMB, r.childrenMB)
	}
	if r.streamsCPU > 0 {
		_, _ = fmt.Fprintf(w, "\n%d streams at once (%d calls, FFmpeg held still): %.5f CPU s/s for each, %.0f MB resident\n", 3*manyCalls, manyCalls, r.streamsCPU, r.streamsMB)
	}
	r.printFlood(w)
	if aims := r.aims(); len(aims) > 0 {
		_, _ = fmt.Fprintln(w)
		table(w, append([][]string{{"aim", "at most", "measured", "", "of"}}, aims...))
	}
	r.notes(w)
}

// printFlood says what the last rate without loss was, and what a core of the server's own time would take.
func (r report) printFlood(w io.Writer) {
	var best floodStep
	for _, s := range r.flood {
		if s.lost == 0 {
			best = s
		}
	}
	if best.rate == 0 {
		return
	}
	_, _ = fmt.Fprintf(w, "\nPackets of %d bytes on %d tracks, sender on the same machine: %.0f a second without loss at %.2f cores of the server, that is %.0f per second and core",
		floodBytes, floodTracks, best.rate, best.cores, best.rate/best.cores)
	if last := r.flood[len(r.flood)-1]; last.lost > 0 {
		_, _ = fmt.Fprintf(w, "; first loss at %.0f a second (%d packets)", last.rate, last.lost)
	}
	_, _ = fmt.Fprintln(w)
}

func (r report) printLayouts(w io.Writer) {
	_, _ = fmt.Fprintf(w, "Calls of %.0f s on %d CPUs (%s/%s). CPU in seconds per recorded second; live: the server until stop; after: the server after stop.\n\n",
		r.seconds, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	lines := [][]string{{"recording", "seconds", "CPU live", "after", "FFmpeg", "total", "stop→AVAILABLE s", "Mbit/s", "kB/s"}}
	for _, u := range append(append([]usage{}, r.layouts...), r.long...) {
		lines = append(lines, []string{u.name, fmt.Sprintf("%.1f", u.seconds), fmt.Sprintf("%.4f", u.live), fmt.Sprintf("%.4f", u.after), fmt.Sprintf("%.3f", u.compose),
			fmt.Sprintf("%.3f", u.total()), fmt.Sprintf("%.1f", u.readyS), fmt.Sprintf("%.2f", u.mbps), fmt.Sprintf("%.1f", u.bytesPerSecond/1000)})
	}
	for _, u := range r.naive {
		lines = append(lines, []string{"plain FFmpeg: " + u.name, fmt.Sprintf("%.1f", u.seconds), "", "", fmt.Sprintf("%.3f", u.compose), fmt.Sprintf("%.3f", u.total()), "", fmt.Sprintf("%.2f", u.mbps), ""})
	}
	table(w, lines)
}

// aims compares. The dearest content counts where there is a choice.
func (r report) aims() [][]string {
	var rows [][]string
	add := func(name string, aim, got float64, format, of string) {
		verdict := "met"
		if got > aim {
			verdict = fmt.Sprintf("missed: %.1f times as much", got/aim)
		}
		rows = append(rows, []string{name, fmt.Sprintf(format, aim), fmt.Sprintf(format, got), verdict, of})
	}
	if r.capture > 0 {
		add("capture, CPU s/s", aimCapture, r.capture, "%.4f", fmt.Sprintf("each of %d dual calls at once, FFmpeg held still (%d children)", liveCalls, r.captureHeld))
	}
	dual := r.dual()
	for _, u := range dual {
		add("compose, CPU s/s", aimCompose, u.compose, "%.3f", u.name)
		sustained := 3 / u.total()
		verdict := "met"
		if sustained < aimStreams {
			verdict = fmt.Sprintf("missed: %.2f of it", sustained/aimStreams)
		}
		rows = append(rows, []string{"sustained live streams per CPU (at least)", fmt.Sprintf("%.1f", aimStreams), fmt.Sprintf("%.1f", sustained), verdict,
			u.name + ": 3 streams ÷ CPU s/s"})
	}
	for _, u := range append(dual, r.long...) {
		add("stop→AVAILABLE, s", aimReadyS, u.readyS, "%.1f", fmt.Sprintf("%s, %.0f s", u.name, u.seconds))
		add("rate, Mbit/s", aimMbps, u.mbps, "%.2f", fmt.Sprintf("%s, %.0f s", u.name, u.seconds))
	}
	if r.liveMB > 0 {
		add("memory per live recording, MB", aimMemoryMB, max(0, r.liveMB-r.idleMB)/liveCalls, "%.1f", "the server process")
		add("the same with FFmpeg, MB", aimMemoryMB, max(0, r.liveMB-r.idleMB+r.childrenMB)/liveCalls, "%.1f", "video children are shared: at most as many as workers")
	}
	if n := len(r.layouts); len(dual) > 0 && r.layouts[n-1].name == "audio only" {
		add("audio-only file, part of a dual one", aimAudioPart, r.layouts[n-1].bytesPerSecond/dual[0].bytesPerSecond, "%.3f", dual[0].name)
	}
	return rows
}

func (r report) dual() []usage {
	var out []usage
	for _, u := range r.layouts {
		if strings.HasPrefix(u.name, "side by side") {
			out = append(out, u)
		}
	}
	return out
}

func (r report) notes(w io.Writer) {
	if len(r.layouts) == 0 {
		return
	}
	notes := []string{
		fmt.Sprintf("A server without calls takes %.4f CPU s/s; nothing is subtracted for it, here or in the aims.", r.idle),
		"\"CPU live\" holds receiving, the spool, planning, and feeding FFmpeg; \"capture\" in the aims leaves the last out.",
		"The FFmpeg column holds encoding and the check decodes of every segment.",
		"The captured webcam hardly moves; the talking head is drawn by FFmpeg, encoded as VP8 at 1.3 Mbit/s and sent in its place.",
		"Plain FFmpeg reads the same pictures from files, one thread, without sound, network, encryption or checks.",
	}
	if r.headMissing != nil {
		notes[3] = "The captured webcam hardly moves. A talking head was not measured: " + strings.TrimSpace(r.headMissing.Error())
	}
	if len(r.long) == 0 {
		notes = append(notes, fmt.Sprintf("The aim for stop→AVAILABLE speaks of a call of %v, which -long measures.", longCall))
	}
	_, _ = fmt.Fprintln(w)
	for _, n := range notes {
		_, _ = fmt.Fprintln(w, "- "+n)
	}
}

func table(w io.Writer, lines [][]string) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, l := range lines {
		_, _ = fmt.Fprintln(t, strings.Join(l, "\t"))
	}
	_ = t.Flush() // the writer below has had its errors
}
