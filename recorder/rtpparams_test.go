package recorder_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

// TestRTPParametersOfTheWrongShape: the refusal says which field is wrong, and nothing of the program's own types.
func TestRTPParametersOfTheWrongShape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`[1]`:                   "it is of type array",
		`"x"`:                   "it is of type string",
		`{"codecs": {}}`:        "codecs cannot be of type object",
		`{"encodings": [true]}`: "encodings",
		`{"codecs": [`:          "unexpected end of JSON input",
	} {
		_, err := recorder.ParseRTPParameters([]byte(in), recorder.Webcam)
		if !errors.Is(err, recorder.ErrRTPParameters) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "struct") {
			t.Errorf("%s: error %q, want %q", in, err, want)
		}
	}
}
