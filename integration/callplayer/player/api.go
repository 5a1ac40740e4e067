package player

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// API speaks the recorder's GraphQL.
type API struct {
	Endpoint string // e.g. http://127.0.0.1:8080/graphql
	Key      string // sent as a bearer token
	HTTP     *http.Client
}

// UserErrors are the refusals in a payload.
type UserErrors []UserError

// UserError is one refusal; Code is what a program switches on.
type UserError struct {
	Field   []string `json:"field"`
	Message string   `json:"message"`
	Code    string   `json:"code"`
}

// Error lists all of them.
func (e UserErrors) Error() string {
	var parts []string
	for _, u := range e {
		parts = append(parts, strings.TrimPrefix(fmt.Sprintf("%s: %s (%s)", strings.Join(u.Field, "."), u.Message, u.Code), ": "))
	}
	return strings.Join(parts, "; ")
}

func (e UserErrors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Started is what startRecording answers.
type Started struct {
	ID      string         `json:"id"`
	ViewURL string         `json:"viewUrl"`
	Tracks  []StartedTrack `json:"tracks"`
}

// StartedTrack is a track that the recorder expects, with the address to send to.
type StartedTrack struct {
	ID     string  `json:"id"`
	Kind   string  `json:"kind"`
	Ingest *Ingest `json:"ingest"`
}

// Ingest is an address of the recorder; RTCPPort is 0 with rtcpMux. SRTPParameters encrypt what the recorder sends.
type Ingest struct {
	IP             string          `json:"ip"`
	RTPPort        int             `json:"rtpPort"`
	RTCPPort       int             `json:"rtcpPort"`
	SRTPParameters *SRTPParameters `json:"srtpParameters"`
}

// StartInput is a subset of StartRecordingInput. Empty fields are left out.
type StartInput struct {
	ExternalSessionID string   `json:"externalSessionId"`
	Queue             string   `json:"queue"`
	Agent             string   `json:"agent"`
	Tracks            []string `json:"tracks"`
	Layout            string   `json:"layout,omitempty"`
	RTCPMux           bool     `json:"rtcpMux"`
	SRTPCryptoSuite   string   `json:"srtpCryptoSuite,omitempty"`
}

// Start calls startRecording.
func (a API) Start(ctx context.Context, in StartInput) (Started, error) {
	var out struct {
		Payload struct {
			Recording  *Started   `json:"recording"`
			UserErrors UserErrors `json:"userErrors"`
		} `json:"startRecording"`
	}
	err := a.do(ctx, "startRecording", `mutation($input: StartRecordingInput!) { startRecording(input: $input) {
		recording { id viewUrl tracks { id kind ingest { ip rtpPort rtcpPort srtpParameters } } } userErrors { field message code } } }`, input(in), &out)
	if err == nil {
		err = out.Payload.UserErrors.err()
	}
	if err == nil && out.Payload.Recording == nil {
		err = errors.New("the answer has no recording")
	}
	if err != nil {
		return Started{}, fmt.Errorf("startRecording: %w", err)
	}
	return *out.Payload.Recording, nil
}

// Source is the SFU's side of a track. RTCPPort is 0 with rtcpMux.
type Source struct {
	IP       string `json:"ip,omitempty"`
	RTPPort  int    `json:"rtpPort"`
	RTCPPort int    `json:"rtcpPort,omitempty"`
}

// Attach calls attachTrack with rtpParameters as they are.
func (a API) Attach(ctx context.Context, recordingID, kind string, rtpParameters json.RawMessage, from Source) error {
	return a.AttachSecure(ctx, recordingID, kind, rtpParameters, from, nil)
}

// AttachSecure calls attachTrack with the SFU's SRTP parameters; nil: none.
func (a API) AttachSecure(ctx context.Context, recordingID, kind string, rtpParameters json.RawMessage, from Source, srtp *SRTPParameters) error {
	in := map[string]any{"recordingId": recordingID, "kind": kind, "rtpParameters": rtpParameters, "source": from}
	if srtp != nil {
		in["srtpParameters"] = srtp
	}
	return a.command(ctx, "attachTrack", `mutation($input: AttachTrackInput!) { payload: attachTrack(input: $input) { userErrors { field message code } } }`, in)
}

// Stop calls stopRecording.
func (a API) Stop(ctx context.Context, recordingID string) error {
	return a.command(ctx, "stopRecording", `mutation($input: StopRecordingInput!) { payload: stopRecording(input: $input) { userErrors { field message code } } }`,
		map[string]any{"recordingId": recordingID})
}

func (a API) command(ctx context.Context, name, query string, in any) error {
	var out struct {
		Payload struct {
			UserErrors UserErrors `json:"userErrors"`
		} `json:"payload"`
	}
	err := a.do(ctx, name, query, input(in), &out)
	if err == nil {
		err = out.Payload.UserErrors.err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Status is how far a recording is.
type Status struct {
	Capture      string `json:"capture"`
	ComposeLagMs *int   `json:"composeLagMs"`
	DurationMs   *int   `json:"durationMs"`
	Failure      *struct {
		Message string `json:"message"`
	} `json:"failure"`
}

// Done: nothing more will happen to it.
func (s Status) Done() bool {
	switch s.Capture {
	case "AVAILABLE", "PARTIAL", "FAILED", "ABORTED":
		return true
	}
	return false
}

// Recording asks for a recording's status.
func (a API) Recording(ctx context.Context, id string) (Status, error) {
	var out struct {
		Recording *Status `json:"recording"`
	}
	err := a.do(ctx, "recording", `query($id: ID!) { recording(id: $id) { capture composeLagMs durationMs failure { message } } }`, map[string]any{"id": id}, &out)
	if err == nil && out.Recording == nil {
		err = fmt.Errorf("there is no recording %s", id)
	}
	if err != nil {
		return Status{}, fmt.Errorf("recording: %w", err)
	}
	return *out.Recording, nil
}

// Packets is how many RTP packets of all tracks a recording has accepted.
func (a API) Packets(ctx context.Context, recordingID string) (n int64, err error) {
	var out struct {
		Recording *struct {
			Tracks []struct {
				Stats struct {
					Packets float64 `json:"packets"`
				} `json:"stats"`
			} `json:"tracks"`
		} `json:"recording"`
	}
	err = a.do(ctx, "recording", `query($id: ID!) { recording(id: $id) { tracks { stats { packets } } } }`, map[string]any{"id": recordingID}, &out)
	if err == nil && out.Recording == nil {
		err = errors.New("there is no such recording")
	}
	if err != nil {
		return 0, fmt.Errorf("packets of %s: %w", recordingID, err)
	}
	for _, t := range out.Recording.Tracks {
		n += int64(t.Stats.Packets)
	}
	return n, nil
}

// Grant calls grantPlayback and returns the signed URL of the video.
func (a API) Grant(ctx context.Context, recordingID string) (string, error) {
	var out struct {
		Payload struct {
			Grant *struct {
				VideoURL string `json:"videoUrl"`
			} `json:"grant"`
			UserErrors UserErrors `json:"userErrors"`
		} `json:"grantPlayback"`
	}
	err := a.do(ctx, "grantPlayback", `mutation($input: GrantPlaybackInput!) { grantPlayback(input: $input) { grant { videoUrl } userErrors { field message code } } }`,
		input(map[string]any{"recordingId": recordingID}), &out)
	if err == nil {
		err = out.Payload.UserErrors.err()
	}
	if err == nil && (out.Payload.Grant == nil || out.Payload.Grant.VideoURL == "") {
		err = errors.New("the answer has no videoUrl")
	}
	if err != nil {
		return "", fmt.Errorf("grantPlayback: %w", err)
	}
	return a.absolute(out.Payload.Grant.VideoURL)
}

// absolute resolves a URL that the server gave as a path.
func (a API) absolute(ref string) (string, error) {
	base, err := url.Parse(a.Endpoint)
	if err != nil {
		return "", fmt.Errorf("endpoint: %w", err)
	}
	u, err := base.Parse(ref)
	if err != nil {
		return "", fmt.Errorf("videoUrl: %w", err)
	}
	return u.String(), nil
}

// Download fetches a signed URL into a file, which appears when it is complete. No key is sent with it.
func (a API) Download(ctx context.Context, from, path string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return 0, fmt.Errorf("download: %w", err)
	}
	resp, err := a.client().Do(req)
	if err != nil {
		return 0, fmt.Errorf("download: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return 0, fmt.Errorf("download: %s: %s", resp.Status, bytes.TrimSpace(text))
	}
	n, err := writeFile(path, resp.Body)
	if err == nil && resp.ContentLength >= 0 && n != resp.ContentLength {
		err = fmt.Errorf("%d bytes of %d", n, resp.ContentLength)
	}
	if err != nil {
		return n, fmt.Errorf("download: %w", err)
	}
	return n, nil
}

func writeFile(path string, r io.Reader) (n int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".download-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	n, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		return n, err
	}
	return n, os.Rename(f.Name(), path)
}

func input(v any) map[string]any { return map[string]any{"input": v} }

const maxAnswer = 16 << 20

func (a API) do(ctx context.Context, name, query string, variables map[string]any, out any) error {
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "dualrec-callplayer ("+name+")")
	if a.Key != "" {
		req.Header.Set("Authorization", "Bearer "+a.Key)
	}
	resp, err := a.client().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	return decode(resp.Status, raw, out)
}

func decode(status string, raw []byte, out any) error {
	var answer struct {
		Data   json.RawMessage `json:"data"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("%s: not a GraphQL answer: %.200s", status, raw)
	}
	if len(answer.Errors) > 0 {
		return fmt.Errorf("%s: %s", status, answer.Errors[0].Message)
	}
	return json.Unmarshal(answer.Data, out)
}

func (a API) client() *http.Client {
	if a.HTTP != nil {
		return a.HTTP
	}
	return http.DefaultClient
}
