package recorder

import (
	"bytes"
	"context"
	"encoding/json"
)

// PublishCommand feeds an expected track from a lease of the caller's, in place of the track's own sockets: a browser
// publishes without an SFU (recorder/ingest/whip).
type PublishCommand struct {
	TenantID, RecordingID string
	Kind                  TrackKind
	TrackID               string          // as for AttachCommand
	RTPParameters         json.RawMessage // of the form that ParseRTPParameters takes, so that the spool describes itself
	Source                Source          // the publisher's host: its streams of one CNAME share a clock
	// Lease is the recording's once Publish has succeeded: it is closed when capture ends, or when the track is detached
	// or fed by somebody else.
	Lease Lease
	Actor Actor
}

// UnpublishCommand ends what a lease of PublishCommand feeds.
type UnpublishCommand struct {
	TenantID, RecordingID string
	Lease                 Lease
}

// Expected lists the track kinds that a live recording of this node was started with. Errors as for Attach.
func (s *Service) Expected(ctx context.Context, tenantID, recordingID string) ([]TrackKind, error) {
	r, err := s.lookup(ctx, tenantID, recordingID)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mustBeLive(); err != nil {
		return nil, err
	}
	kinds := make([]TrackKind, 0, len(r.tracks))
	for _, t := range r.tracks {
		kinds = append(kinds, t.kind)
	}
	return kinds, nil
}

// Publish begins a leg that a given lease feeds, and ends the one that the track had. After an error the lease is still
// the caller's.
func (s *Service) Publish(ctx context.Context, c PublishCommand) (string, error) {
	params, err := ParseRTPParameters(c.RTPParameters, c.Kind)
	if err != nil {
		return "", &CommandError{Code: CodeInvalidInput, Field: []string{"input", "rtpParameters"}, Msg: err.Error(), Err: err}
	}
	r, err := s.lookup(ctx, c.TenantID, c.RecordingID)
	if err != nil {
		return "", err
	}
	row, err := r.publish(c, params)
	if err != nil {
		return "", err
	}
	s.saveTrack(ctx, r, row)
	s.notify(r, ChangeStatus)
	return row.ID, nil
}

// Unpublish ends the leg that this lease feeds; its part of the picture becomes a placeholder, its sound silence. A lease
// that feeds nothing any more is no error: somebody else publishes already, or the recording has ended.
func (s *Service) Unpublish(ctx context.Context, c UnpublishCommand) error {
	r, ok := s.find(c.TenantID, c.RecordingID)
	if !ok {
		return nil
	}
	row, changed, err := r.unpublish(c.Lease)
	if err != nil || !changed {
		return err
	}
	s.saveTrack(ctx, r, row)
	s.notify(r, ChangeStatus)
	return nil
}

func (r *recording) publish(c PublishCommand, params RTPParameters) (TrackRow, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mustBeLive(); err != nil {
		return TrackRow{}, err
	}
	t, err := r.find(c.Kind, c.TrackID)
	if err != nil {
		return TrackRow{}, err
	}
	if err := r.replaceLeg(t, feed{lease: c.Lease, published: true, params: bytes.Clone(c.RTPParameters), source: c.Source}, params); err != nil {
		return TrackRow{}, err
	}
	return t.row(r.capture), nil
}

func (r *recording) unpublish(lease Lease) (row TrackRow, changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.capture.Live() {
		return TrackRow{}, false, nil
	}
	for _, t := range r.tracks {
		if t.leg != nil && t.leg.lease == lease {
			err := r.endLeg(t)
			return t.row(r.capture), true, err
		}
	}
	return TrackRow{}, false, nil
}

// plus adds up what several leases have counted for one track, the older first.
func (s NetStats) plus(o NetStats) NetStats {
	out := NetStats{Packets: s.Packets + o.Packets, Bytes: s.Bytes + o.Bytes, RTCPPackets: s.RTCPPackets + o.RTCPPackets, Lost: s.Lost + o.Lost,
		Duplicates: s.Duplicates + o.Duplicates, Reordered: s.Reordered + o.Reordered, DroppedForeign: s.DroppedForeign + o.DroppedForeign,
		DroppedMalformed: s.DroppedMalformed + o.DroppedMalformed, DroppedUnauthentic: s.DroppedUnauthentic + o.DroppedUnauthentic,
		DroppedHeld: s.DroppedHeld + o.DroppedHeld, DroppedByKernel: s.DroppedByKernel + o.DroppedByKernel, Nacked: s.Nacked + o.Nacked,
		Repaired: s.Repaired + o.Repaired, Keyframes: s.Keyframes + o.Keyframes, KeyframesAsked: s.KeyframesAsked + o.KeyframesAsked,
		FirstPacketAt: s.FirstPacketAt, LastPacketAt: s.LastPacketAt, JitterMs: s.JitterMs, SSRC: s.SSRC}
	if out.FirstPacketAt.IsZero() || !o.FirstPacketAt.IsZero() && o.FirstPacketAt.Before(out.FirstPacketAt) {
		out.FirstPacketAt = o.FirstPacketAt
	}
	if o.LastPacketAt.After(out.LastPacketAt) {
		out.LastPacketAt, out.JitterMs = o.LastPacketAt, o.JitterMs
	}
	if o.SSRC != 0 {
		out.SSRC = o.SSRC
	}
	return out
}
