package whip

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/dualrec/dualrec/recorder"
)

// Limits of an offer. A browser's has two sections and some 60 lines each.
const (
	maxSections   = 4
	maxAttributes = 500 // of one section
	maxText       = 256 // bytes of what is taken over as it is
)

// format is a codec as a section offers it.
type format struct {
	codec    recorder.Codec
	mime     string // of rtpParameters
	name     string // of rtpmap: "VP8/90000"
	pt       uint8
	fmtp     string
	feedback []string // "nack", "nack pli", …
	rtx      uint8    // payload type of its retransmissions; 0: none
}

// section is what one m= section of an offer sends.
type section struct {
	video bool
	mid   string
	off   bool   // the offerer has switched it off
	best  format // of those that can be recorded, the one that the offerer likes most
	found bool   // best
	// ssrc and rtxSSRC are what it announces; rtxSSRC is 0 without retransmissions.
	ssrc, rtxSSRC uint32
	cname         string
	extensions    map[string]uint8 // by URI
	secrets       transportLines
	problem       *Refusal // why it cannot be taken, if somebody wants to take it
}

// transportLines are the attributes that ICE and DTLS need, as they came.
type transportLines struct{ ufrag, pwd, fingerprint, setup string }

// offer is an SDP offer as far as it was understood.
type offer struct {
	sections []section
	bundle   []string // mids
}

// readOffer parses an offer and checks all that does not depend on the recording. Errors are *Refusal.
func readOffer(raw []byte) (offer, error) {
	var desc sdp.SessionDescription
	if err := desc.Unmarshal(raw); err != nil {
		return offer{}, malformed("the body is not an SDP offer: send pc.localDescription.sdp")
	}
	switch n := len(desc.MediaDescriptions); {
	case n == 0:
		return offer{}, malformed("the body is not an SDP offer with media: send pc.localDescription.sdp")
	case n > maxSections:
		return offer{}, unsupported("the offer has %d media sections, want one of video, one of audio, or both", n)
	}
	o := offer{bundle: bundled(desc.Attributes)}
	shared := transportOf(desc.Attributes, transportLines{})
	count := map[bool]int{}
	for _, m := range desc.MediaDescriptions {
		s, err := readSection(m, shared)
		if err != nil {
			return offer{}, err
		}
		if slices.ContainsFunc(o.sections, func(other section) bool { return other.mid == s.mid }) {
			return offer{}, malformed("two media sections have the mid %q", s.mid)
		}
		o.sections = append(o.sections, s)
		if !s.off {
			count[s.video]++
		}
	}
	if count[true] > 1 || count[false] > 1 {
		return offer{}, unsupported("the offer has %d video and %d audio sections: a session carries one of each, so publish screen and webcam by two sessions", count[true], count[false])
	}
	return o, nil
}

func bundled(attributes []sdp.Attribute) []string {
	for _, a := range attributes {
		if group, ok := strings.CutPrefix(a.Value, "BUNDLE "); ok && a.Key == "group" {
			return strings.Fields(group)
		}
	}
	return nil
}

func transportOf(attributes []sdp.Attribute, t transportLines) transportLines {
	for _, a := range attributes {
		switch a.Key {
		case "ice-ufrag":
			t.ufrag = a.Value
		case "ice-pwd":
			t.pwd = a.Value
		case "fingerprint":
			if t.fingerprint == "" || strings.HasPrefix(strings.ToLower(a.Value), "sha-256 ") {
				t.fingerprint = a.Value
			}
		case "setup":
			t.setup = a.Value
		}
	}
	return t
}

func readSection(m *sdp.MediaDescription, shared transportLines) (section, error) {
	s := section{video: m.MediaName.Media == "video", extensions: map[string]uint8{}, secrets: transportOf(m.Attributes, shared)}
	if !s.video && m.MediaName.Media != "audio" {
		return s, unsupported("the offer has a section of %.20q: leave it out (a recorder has no data channels)", m.MediaName.Media)
	}
	if len(m.Attributes) > maxAttributes {
		return s, unsupported("a media section has %d lines, the limit is %d", len(m.Attributes), maxAttributes)
	}
	s.mid, _ = m.Attribute("mid")
	if s.mid == "" || len(s.mid) > 16 || strings.ContainsFunc(s.mid, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return s, malformed("a media section has no usable a=mid line (RFC 9143)")
	}
	if _, only := m.Attribute("bundle-only"); m.MediaName.Port.Value == 0 && !only {
		s.off = true
		return s, nil
	}
	s.problem = s.readMedia(m)
	return s, nil
}

// readMedia fills in what the section sends, or says why it cannot be recorded.
func (s *section) readMedia(m *sdp.MediaDescription) *Refusal {
	has := func(name string) bool { _, ok := m.Attribute(name); return ok }
	switch {
	case strings.Join(m.MediaName.Protos, "/") != "UDP/TLS/RTP/SAVPF":
		return unsupported("section %s is not of UDP/TLS/RTP/SAVPF", s.mid)
	case has("recvonly"), has("inactive"):
		return unsupported("section %s sends nothing: add its track with direction sendonly", s.mid)
	case !has("rtcp-mux"):
		return unsupported("section %s has no a=rtcp-mux line", s.mid)
	case has("simulcast"), has("rid"):
		return unsupported("section %s offers simulcast: a recording takes one encoding, so leave sendEncodings out", s.mid)
	}
	if problem := s.secrets.check(); problem != nil {
		return problem
	}
	s.readFormats(m)
	if !s.found {
		return unsupported("section %s offers no codec that can be recorded: VP8, VP9 (profile 0), H264 (baseline, main or high; packetization-mode 0 or 1), opus", s.mid)
	}
	if problem := s.readSources(m); problem != nil {
		return problem
	}
	s.readExtensions(m)
	return nil
}

var (
	iceUfrag     = regexp.MustCompile(`^[A-Za-z0-9+/]{4,256}$`)
	icePwd       = regexp.MustCompile(`^[A-Za-z0-9+/]{22,256}$`)
	fingerprints = regexp.MustCompile(`^(?i:sha-256 [0-9a-f]{2}(:[0-9a-f]{2}){31}|sha-384 [0-9a-f]{2}(:[0-9a-f]{2}){47}|sha-512 [0-9a-f]{2}(:[0-9a-f]{2}){63})$`)
)

// check refuses what ICE and DTLS could not begin with. What they hold is proved by the handshakes.
func (t transportLines) check() *Refusal {
	if !iceUfrag.MatchString(t.ufrag) || !icePwd.MatchString(t.pwd) {
		return malformed("the offer has no usable a=ice-ufrag and a=ice-pwd lines (RFC 8839 §5.4)")
	}
	if !fingerprints.MatchString(t.fingerprint) {
		return malformed("the offer has no usable a=fingerprint line: want sha-256, sha-384 or sha-512 (RFC 8122)")
	}
	if t.setup != "actpass" && t.setup != "active" {
		return unsupported("a=setup is %.20q, want actpass (RFC 9725 §4.4)", t.setup)
	}
	return nil
}

// readFormats finds the first codec that can be recorded, in the offerer's order.
func (s *section) readFormats(m *sdp.MediaDescription) {
	byPT, rtx := map[string]*format{}, map[string]string{}
	get := func(pt string) *format {
		if byPT[pt] == nil {
			byPT[pt] = &format{}
		}
		return byPT[pt]
	}
	for _, a := range m.Attributes {
		pt, rest, _ := strings.Cut(a.Value, " ")
		rest = strings.TrimSpace(rest)
		if len(rest) > maxText || strings.ContainsFunc(rest, func(r rune) bool { return r < ' ' || r > '~' }) {
			continue // it would be copied into what the library reads
		}
		switch a.Key {
		case "rtpmap":
			get(pt).name = rest
		case "fmtp":
			get(pt).fmtp = rest
			if apt, ok := parameter(rest, "apt"); ok && rtx[apt] == "" {
				rtx[apt] = pt
			}
		case "rtcp-fb":
			get(pt).feedback = append(get(pt).feedback, rest)
		}
	}
	for _, pt := range m.MediaName.Formats {
		f := byPT[pt]
		if f == nil || !f.recordable(s.video) {
			continue
		}
		n, ok := payloadType(pt)
		if !ok {
			continue
		}
		f.pt, f.feedback = n, slices.Concat(f.feedback, get("*").feedback)
		if other := byPT[rtx[pt]]; other != nil && strings.EqualFold(other.name, "rtx/90000") && slices.Contains(m.MediaName.Formats, rtx[pt]) {
			f.rtx, _ = payloadType(rtx[pt])
		}
		s.best, s.found = *f, true
		return
	}
}

// payloadType reads one that cannot be taken for RTCP (RFC 5761 §4).
func payloadType(s string) (uint8, bool) {
	n, err := strconv.ParseUint(s, 10, 7)
	return uint8(n), err == nil && (n < 64 || n > 95)
}

// parameter finds one of fmtp's "a=1;b=2".
func parameter(fmtp, name string) (string, bool) {
	for p := range strings.SplitSeq(fmtp, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(k, name) {
			return v, true
		}
	}
	return "", false
}

// recordable tells whether the recorder takes the codec, and names it.
func (f *format) recordable(video bool) bool {
	switch name := strings.ToUpper(f.name); {
	case video && name == "VP8/90000":
		f.codec, f.mime = recorder.VP8, "video/VP8"
	case video && name == "VP9/90000":
		f.codec, f.mime = recorder.VP9, "video/VP9"
		profile, given := parameter(f.fmtp, "profile-id")
		return !given || profile == "0"
	case video && name == "H264/90000":
		f.codec, f.mime = recorder.H264, "video/H264"
		mode, _ := parameter(f.fmtp, "packetization-mode")
		profile, given := parameter(f.fmtp, "profile-level-id")
		known := len(profile) == 6 && slices.Contains([]string{"42", "4d", "58", "64"}, strings.ToLower(profile[:2]))
		return (mode == "" || mode == "0" || mode == "1") && (!given || known)
	case !video && name == "OPUS/48000/2":
		f.codec, f.mime = recorder.Opus, "audio/opus"
	default:
		return false
	}
	return true
}

// readSources finds the SSRCs that the section announces. Without them a stream could be told only by what its first
// packets say of themselves.
func (s *section) readSources(m *sdp.MediaDescription) *Refusal {
	number := func(text string) uint32 {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return 0
		}
		return uint32(n)
	}
	for _, a := range m.Attributes {
		id, rest, _ := strings.Cut(a.Value, " ")
		switch a.Key {
		case "ssrc-group":
			if pair := strings.Fields(rest); id == "FID" && len(pair) == 2 && s.rtxSSRC == 0 {
				s.ssrc, s.rtxSSRC = number(pair[0]), number(pair[1])
			}
		case "ssrc":
			if s.ssrc == 0 {
				s.ssrc = number(id)
			}
		}
	}
	if s.ssrc == 0 || s.ssrc == s.rtxSSRC {
		return unsupported("section %s has no a=ssrc line that says which stream it sends: leave simulcast out", s.mid)
	}
	for _, a := range m.Attributes {
		id, rest, _ := strings.Cut(a.Value, " ")
		if name, ok := strings.CutPrefix(rest, "cname:"); ok && a.Key == "ssrc" && number(id) == s.ssrc && len(name) <= maxText {
			s.cname = strings.ToValidUTF8(name, "")
		}
	}
	if s.best.rtx == 0 || s.rtxSSRC == 0 {
		s.best.rtx, s.rtxSSRC = 0, 0
	}
	return nil
}

// Header extensions that are taken if they are offered.
const extTransportCC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"

var knownExtensions = map[bool][]string{
	true:  {recorder.ExtMID, recorder.ExtAbsSendTime, recorder.ExtAbsCaptureTime, recorder.ExtVideoOrientation, extTransportCC},
	false: {recorder.ExtMID, recorder.ExtAbsSendTime, recorder.ExtAbsCaptureTime, recorder.ExtAudioLevel, extTransportCC},
}

func (s *section) readExtensions(m *sdp.MediaDescription) {
	used := map[uint64]bool{}
	for _, a := range m.Attributes {
		fields := strings.Fields(a.Value)
		if a.Key != "extmap" || len(fields) < 2 {
			continue
		}
		number, direction, _ := strings.Cut(fields[0], "/")
		id, err := strconv.ParseUint(number, 10, 8)
		if err != nil || id < 1 || id > 14 || used[id] || direction == "recvonly" || direction == "inactive" || // one byte (RFC 8285)
			!slices.Contains(knownExtensions[s.video], fields[1]) || s.extensions[fields[1]] != 0 {
			continue
		}
		used[id] = true
		s.extensions[fields[1]] = uint8(id)
	}
}

// Side is one half of a dual recording, as the URL names it.
type Side string

// The sides.
const (
	ScreenSide Side = "screen"
	WebcamSide Side = "webcam"
)

// Kinds are the tracks that a side's video and audio are recorded as.
func (s Side) Kinds() (video, audio recorder.TrackKind) {
	if s == ScreenSide {
		return recorder.Screen, recorder.CustomerAudio
	}
	return recorder.Webcam, recorder.AgentAudio
}

// taken is a section that will be recorded.
type taken struct {
	section
	kind recorder.TrackKind // empty: it is idle
}

// choose picks the sections that the recording expects and the publisher may send. The others are answered as inactive.
func (o offer) choose(side Side, expected []recorder.TrackKind, may func(recorder.TrackKind) bool) ([]taken, error) {
	var out []taken
	var forbidden, unexpected []recorder.TrackKind
	for _, s := range o.sections {
		kind := kindOf(side, s.video)
		switch {
		case s.off:
		case !slices.Contains(expected, kind):
			unexpected = append(unexpected, kind)
		case !may(kind):
			forbidden = append(forbidden, kind)
		case s.problem != nil:
			return nil, s.problem
		default:
			out = append(out, taken{s, kind})
		}
	}
	switch {
	case len(out) == 0 && len(forbidden) > 0:
		return nil, refuse(http.StatusForbidden, "FORBIDDEN", "this token does not allow %v: ask for one that does", forbidden)
	case len(out) == 0 && len(unexpected) > 0:
		return nil, unsupported("this recording expects %v and not %v: name it in startRecording.tracks, or publish to the other side", expected, unexpected)
	case len(out) == 0:
		return nil, unsupported("the offer sends nothing: add a track before createOffer()")
	}
	for _, t := range out {
		if len(out) > 1 && (!slices.Contains(o.bundle, t.mid) || out[0].ssrc == out[1].ssrc) {
			return nil, unsupported("video and audio must be bundled (a=group:BUNDLE) and have an ssrc each")
		}
	}
	return out, nil
}

func kindOf(side Side, video bool) recorder.TrackKind {
	v, a := side.Kinds()
	if video {
		return v
	}
	return a
}

// opusAsks is what the answer asks of an Opus encoder: stereo if there is any, and forward error correction.
const opusAsks = "minptime=10;useinbandfec=1;stereo=1"

// idle are the sections that are not taken although they could be. They are answered as inactive and not rejected: a
// browser with one transport for all cannot apply an answer that rejects the first section.
func (o offer) idle(chosen []taken) []taken {
	var out []taken
	for _, s := range o.sections {
		if !s.off && s.problem == nil && !slices.ContainsFunc(chosen, func(t taken) bool { return t.mid == s.mid }) {
			out = append(out, taken{section: s})
		}
	}
	return out
}

// clean writes the offer that the library gets to see, in the original order: what is taken, what is idle, and of the
// rest the place alone.
func (o offer) clean(chosen []taken) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0")
	known := slices.Concat(chosen, o.idle(chosen))
	find := func(mid string) int { return slices.IndexFunc(known, func(t taken) bool { return t.mid == mid }) }
	var mids []string
	for _, s := range o.sections {
		if find(s.mid) >= 0 {
			mids = append(mids, s.mid)
		}
	}
	line("a=group:BUNDLE %s", strings.Join(mids, " "))
	for _, s := range o.sections {
		media := map[bool]string{true: "video", false: "audio"}[s.video]
		at := find(s.mid)
		if at < 0 { // the library has no codec of this kind, and rejects it
			line("m=%s 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:%s\r\na=inactive", media, s.mid)
			continue
		}
		known[at].write(line, media)
	}
	return b.String()
}

func (t taken) write(line func(string, ...any), media string) {
	direction := "sendonly"
	if t.kind == "" {
		direction = "inactive"
	}
	f := t.best
	pts := strconv.Itoa(int(f.pt))
	if f.rtx != 0 {
		pts += " " + strconv.Itoa(int(f.rtx))
	}
	line("m=%s 9 UDP/TLS/RTP/SAVPF %s\r\nc=IN IP4 0.0.0.0\r\na=mid:%s\r\na=%s\r\na=rtcp-mux\r\na=rtcp-rsize", media, pts, t.mid, direction)
	line("a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s\r\na=setup:%s", t.secrets.ufrag, t.secrets.pwd, t.secrets.fingerprint, t.secrets.setup)
	line("a=rtpmap:%d %s", f.pt, encodings[f.codec])
	if fmtp := f.answered(); fmtp != "" {
		line("a=fmtp:%d %s", f.pt, fmtp)
	}
	for _, fb := range t.feedback() {
		line("a=rtcp-fb:%d %s", f.pt, fb)
	}
	if f.rtx != 0 {
		line("a=rtpmap:%d rtx/90000\r\na=fmtp:%d apt=%d", f.rtx, f.rtx, f.pt)
	}
	for _, uri := range knownExtensions[t.video] { // in a fixed order
		if id := t.extensions[uri]; id != 0 {
			line("a=extmap:%d %s", id, uri)
		}
	}
	if t.kind == "" {
		return
	}
	if t.rtxSSRC != 0 {
		line("a=ssrc-group:FID %d %d", t.ssrc, t.rtxSSRC)
	}
	line("a=ssrc:%d cname:x", t.ssrc) // the library does not use the name
	if t.rtxSSRC != 0 {
		line("a=ssrc:%d cname:x", t.rtxSSRC)
	}
}

// encodings are the names of the codecs in rtpmap.
var encodings = map[recorder.Codec]string{recorder.VP8: "VP8/90000", recorder.VP9: "VP9/90000", recorder.H264: "H264/90000", recorder.Opus: "opus/48000/2"}

// answered are the format parameters of the answer.
func (f format) answered() string {
	if f.codec == recorder.Opus {
		return opusAsks
	}
	return f.fmtp
}

var knownFeedback = []string{"nack", "nack pli", "ccm fir", "transport-cc"}

// feedback is what both sides can do.
func (t taken) feedback() []string {
	var out []string
	for _, fb := range knownFeedback {
		if slices.Contains(t.best.feedback, fb) && (fb != "transport-cc" || t.extensions[extTransportCC] != 0) {
			out = append(out, fb)
		}
	}
	return out
}
