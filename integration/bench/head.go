package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// The captured webcam is a still with flashes, which costs an encoder next to nothing. headGraph draws what a webcam
// shows: a textured face that sways, nods and speaks before a textured ground, with the sensor's noise over everything.
const headGraph = `color=0x5a6a78:s=1280x720:r=30,trim=end_frame=1,noise=alls=60:all_seed=1,gblur=3,loop=loop=-1:size=1,setpts=N/30/TB[ground];
color=0x2c3040:s=760x420:r=30,trim=end_frame=1,noise=alls=30:all_seed=2,gblur=1.2,format=yuva444p,geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='255*lt(hypot((X-380)/380,(Y-300)/300),1)',loop=loop=-1:size=1,setpts=N/30/TB[body];
color=0xc49a7c:s=360x460:r=30,trim=end_frame=1,noise=alls=36:all_seed=3,gblur=1.2,format=yuva444p,geq=lum='lum(X,Y)-90*lt(hypot((X-110)/38,(Y-180)/18),1)-90*lt(hypot((X-250)/38,(Y-180)/18),1)':cb='cb(X,Y)':cr='cr(X,Y)':a='255*lt(hypot((X-180)/180,(Y-230)/230),1)',loop=loop=-1:size=1,setpts=N/30/TB[face];
color=0x5c2a2a:s=110x34:r=30,trim=end_frame=1,loop=loop=-1:size=1,setpts=N/30/TB[mouth];
[ground][body]overlay=x='260+14*sin(t*1.3)':y='400+5*sin(t*2.1)':shortest=0[a];
[a][face]overlay=x='460+34*sin(t*1.3)+5*sin(t*7.1)':y='70+14*sin(t*2.1)+4*sin(t*9.3)'[b];
[b][mouth]overlay=x='585+34*sin(t*1.3)+5*sin(t*7.1)':y='390+14*sin(t*2.1)+9*sin(t*19)',noise=alls=5:allf=t,format=yuv420p`

// synthesize encodes the head as Chromium would send it, and leaves it in an IVF file too.
// It draws one pass and repeats it up to length.
func synthesize(ctx context.Context, path string, pass, length time.Duration) ([]frame, error) {
	_, err := ffmpeg(ctx, "-f", "lavfi", "-i", strings.ReplaceAll(headGraph, "\n", ""), "-t", seconds(pass), "-c:v", "libvpx", "-b:v", "1300k",
		"-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-auto-alt-ref", "0", "-g", "150", "-f", "ivf", path)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	frames, err := readIVF(raw)
	if err == nil && len(frames) == 0 {
		err = fmt.Errorf("%w: no frame", errIVF)
	}
	if err != nil {
		return nil, err
	}
	frames = repeated(frames, length)
	return frames, os.WriteFile(path, writeIVF(frames, 1280, 720), 0o600)
}

// headPass is how much of the head bench draws, which takes about as long as it lasts.
const headPass = 10 * time.Second

// ffmpeg runs FFmpeg and returns its processor time.
func ffmpeg(ctx context.Context, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, "ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("ffmpeg: %w: %s", err, bytes.TrimSpace(out))
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// repeated puts passes of the same 30 frames a second one after the other. Every pass begins with a keyframe.
func repeated(frames []frame, length time.Duration) []frame {
	out := make([]frame, 0, len(frames))
	for n := range int(length * 30 / time.Second) {
		out = append(out, frame{ms: uint64(n) * 1000 / 30, data: frames[n%len(frames)].data})
	}
	return out
}

// withWebcam returns the call with other pictures on its webcam track: VP8 at 30 frames a second, on the track's own
// SSRC, numbers and clock, so that its sender reports stay true.
func withWebcam(c *player.Call, frames []frame) (*player.Call, error) {
	i := slices.IndexFunc(c.Tracks, func(t player.Track) bool { return t.Source == "webcam" })
	if i < 0 {
		return nil, errors.New("the call has no webcam")
	}
	packets, err := repacketize(c.Tracks[i].Packets, frames)
	if err != nil {
		return nil, err
	}
	out := &player.Call{Tracks: slices.Clone(c.Tracks)}
	out.Tracks[i].Packets = packets
	return out, nil
}

// mtu leaves room for headers and encryption in a packet of 1,200 bytes, as browsers send them.
const mtu = 1150

func repacketize(old []player.Packet, frames []frame) ([]player.Packet, error) {
	first := slices.IndexFunc(old, func(p player.Packet) bool { return !p.RTCP })
	if first < 0 {
		return nil, errors.New("the webcam's track has no packet")
	}
	var h rtp.Header
	if _, err := h.Unmarshal(old[first].Data); err != nil {
		return nil, err
	}
	out := slices.DeleteFunc(slices.Clone(old), func(p player.Packet) bool { return !p.RTCP })
	payloader := codecs.VP8Payloader{EnablePictureID: true}
	seq := h.SequenceNumber
	for n, f := range frames {
		payloads := payloader.Payload(mtu, f.data)
		for k, payload := range payloads {
			packet := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: h.PayloadType, SSRC: h.SSRC, SequenceNumber: seq,
				Timestamp: h.Timestamp + uint32(n)*3000, Marker: k == len(payloads)-1}, Payload: payload}
			raw, err := packet.Marshal()
			if err != nil {
				return nil, err
			}
			seq++
			out = append(out, player.Packet{At: old[first].At + time.Duration(n)*time.Second/30, Data: raw})
		}
	}
	slices.SortStableFunc(out, func(a, b player.Packet) int { return int(a.At - b.At) })
	return out, nil
}

// frame is one encoded picture; its time counts from the first, in milliseconds.
type frame struct {
	ms   uint64
	data []byte
}

const ivfHeader, ivfFrameHeader = 32, 12

var errIVF = errors.New("not an IVF file")

// readIVF reads the frames of an IVF file.
func readIVF(raw []byte) ([]frame, error) {
	if len(raw) < ivfHeader || string(raw[:4]) != "DKIF" {
		return nil, fmt.Errorf("%w: no DKIF header", errIVF)
	}
	rate, scale := uint64(binary.LittleEndian.Uint32(raw[16:])), uint64(binary.LittleEndian.Uint32(raw[20:]))
	if rate == 0 {
		return nil, fmt.Errorf("%w: time base 0", errIVF)
	}
	var out []frame
	for rest := raw[ivfHeader:]; len(rest) > 0; {
		if len(rest) < ivfFrameHeader || uint64(len(rest)-ivfFrameHeader) < uint64(binary.LittleEndian.Uint32(rest)) {
			return nil, fmt.Errorf("%w: frame %d is cut off", errIVF, len(out))
		}
		n := ivfFrameHeader + int(binary.LittleEndian.Uint32(rest))
		out = append(out, frame{ms: binary.LittleEndian.Uint64(rest[4:]) * scale * 1000 / rate, data: rest[ivfFrameHeader:n]})
		rest = rest[n:]
	}
	return out, nil
}

// writeIVF writes VP8 frames with times in milliseconds.
func writeIVF(frames []frame, width, height uint16) []byte {
	out := bytes.Repeat([]byte{0}, ivfHeader)
	copy(out, "DKIF")
	binary.LittleEndian.PutUint16(out[6:], ivfHeader)
	copy(out[8:], "VP80")
	binary.LittleEndian.PutUint16(out[12:], width)
	binary.LittleEndian.PutUint16(out[14:], height)
	binary.LittleEndian.PutUint32(out[16:], 1000)
	binary.LittleEndian.PutUint32(out[20:], 1)
	binary.LittleEndian.PutUint32(out[24:], uint32(len(frames)))
	for _, f := range frames {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(f.data)))
		out = binary.LittleEndian.AppendUint64(out, f.ms)
		out = append(out, f.data...)
	}
	return out
}

// assemble turns the RTP packets of a captured VP8 track, which came in order and without loss, into frames.
func assemble(packets []player.Packet) ([]frame, error) {
	var out []frame
	var first uint32
	for n, p := range packets {
		if p.RTCP {
			continue
		}
		var packet rtp.Packet
		if err := packet.Unmarshal(p.Data); err != nil {
			return nil, fmt.Errorf("packet %d: %w", n, err)
		}
		payload, err := new(codecs.VP8Packet).Unmarshal(packet.Payload)
		if err != nil {
			return nil, fmt.Errorf("packet %d: %w", n, err)
		}
		if len(out) == 0 {
			first = packet.Timestamp
		}
		ms := uint64(packet.Timestamp-first) / 90
		if len(out) == 0 || out[len(out)-1].ms != ms {
			out = append(out, frame{ms: ms})
		}
		f := &out[len(out)-1]
		f.data = append(f.data, payload...)
	}
	return out, nil
}

// writeTrack writes a captured VP8 track as an IVF file.
func writeTrack(dir string, c *player.Call, source string, width, height uint16) (string, error) {
	i := slices.IndexFunc(c.Tracks, func(t player.Track) bool { return t.Source == source })
	if i < 0 {
		return "", fmt.Errorf("the call has no %s", source)
	}
	frames, err := assemble(c.Tracks[i].Packets)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, source+".ivf")
	return path, os.WriteFile(path, writeIVF(frames, width, height), 0o600)
}
