package whip

import (
	"strings"
)

// maxCandidates bounds the candidates of one fragment.
const maxCandidates = 100

// fragment is a trickle-ice-sdpfrag (RFC 8840 §9) as far as a recorder needs it.
type fragment struct {
	ufrag, pwd string
	candidates int
}

// readFragment checks every line. The candidates themselves are not needed: an ICE-lite agent answers whoever knows the
// session's credentials, and contacts nobody. Errors are *Refusal.
func readFragment(raw []byte) (fragment, error) {
	var f fragment
	section := false
	for line := range strings.SplitSeq(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\n") {
		if line == "" {
			continue
		}
		kind, value, ok := strings.Cut(line, "=")
		if !ok || len(kind) != 1 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return f, malformed("a line of the fragment is not of the form a=…: send trickle-ice-sdpfrag (RFC 8840)")
		}
		switch kind {
		case "m":
			section = true
		case "a":
			if err := f.attribute(value, section); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

func (f *fragment) attribute(value string, section bool) error {
	name, rest, _ := strings.Cut(value, ":")
	switch name {
	case "ice-ufrag":
		return once(&f.ufrag, rest)
	case "ice-pwd":
		return once(&f.pwd, rest)
	case "candidate":
		if !section {
			return malformed("a candidate stands before the first m= line of the fragment")
		}
		if f.candidates++; f.candidates > maxCandidates {
			return malformed("more than %d candidates in one fragment", maxCandidates)
		}
		return checkCandidate(rest)
	}
	return nil
}

// once takes a credential that may be repeated for each section, but not changed.
func once(have *string, is string) error {
	if is == "" || len(is) > maxText || *have != "" && *have != is {
		return malformed("the fragment has an empty ICE credential, or two different ones")
	}
	*have = is
	return nil
}

// checkCandidate looks at the form of RFC 8839 §5.1: foundation, component, transport, priority, address, port, "typ", type.
func checkCandidate(text string) error {
	if text == "" {
		return nil // end of candidates, as browsers write it
	}
	if f := strings.Fields(text); len(f) < 8 || f[6] != "typ" {
		return malformed("a candidate of the fragment is not of the form of RFC 8839")
	}
	return nil
}
