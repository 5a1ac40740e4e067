package mp4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/Eyevinn/mp4ff/aac"
	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/dualrec/dualrec/recorder"
)

// movieTimescale lets both a video frame (at 5…30 a second) and an audio sample at 48 kHz be whole numbers of units,
// and keeps 24 hours within 32 bits.
const movieTimescale = 48000

// Track numbers.
const (
	videoTrack = 1
	audioTrack = 2
)

// movie is everything that the index of the file tells.
type movie struct {
	fps       int
	duration  recorder.Micros
	createdAt time.Time
	title     string
	video     *videoIndex // nil: none
	audio     *audioIndex // nil: none
	priming   int
	deltas    []uint32 // how long each frame is shown, in variableTimescale; nil: all alike
	chunks    []chunk
}

// presented is the number of audio samples that a player plays: what follows the priming, cut to the duration.
func (m *movie) presented() int64 {
	if m.audio == nil {
		return 0
	}
	have := int64(m.audio.samples())*samplesPerAACFrame - int64(m.priming)
	want := rescale(int64(m.duration), int64(m.audio.config.SampleRate), 1e6)
	return max(0, min(have, want))
}

// rescale is v·mul/div rounded to the nearest. The products stay below 2⁶³ for any recording of less than 2000 hours.
func rescale(v, mul, div int64) int64 {
	whole, rest := v/div, v%div
	return whole*mul + (rest*mul+div/2)/div
}

// header returns ftyp, moov and the head of mdat: all bytes of the file before the first sample.
func (m *movie) header() ([]byte, error) {
	var media uint64
	for _, c := range m.chunks {
		media += c.size
	}
	ftyp := m.ftyp()
	// The size of moov depends on the width of the offsets alone, never on their values.
	long := media > math.MaxUint32-(64<<20)
	moov, err := m.moov(0, long)
	if err != nil {
		return nil, err
	}
	base := ftyp.Size() + moov.Size() + mdatHeaderSize(media)
	if !long && base+media > math.MaxUint32 {
		return nil, fmt.Errorf("mp4: an index of %d bytes for %d bytes of media", moov.Size(), media)
	}
	if moov, err = m.moov(base, long); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.Grow(int(base))
	for _, box := range []mp4.Box{ftyp, moov} {
		if err := box.Encode(&out); err != nil {
			return nil, fmt.Errorf("mp4: encode %s: %w", box.Type(), err)
		}
	}
	head := out.AvailableBuffer()
	if mdatHeaderSize(media) == 16 {
		head = append(binary.BigEndian.AppendUint32(head, 1), "mdat"...)
		head = binary.BigEndian.AppendUint64(head, media+16)
	} else {
		head = append(binary.BigEndian.AppendUint32(head, uint32(media+8)), "mdat"...)
	}
	out.Write(head)
	if got := uint64(out.Len()); got != base {
		return nil, fmt.Errorf("mp4: the index has %d bytes, planned were %d", got, base)
	}
	return out.Bytes(), nil
}

func (m *movie) ftyp() *mp4.FtypBox {
	if m.video == nil {
		return mp4.NewFtyp("M4A ", 512, []string{"M4A ", "isom", "iso2", "mp42"})
	}
	return mp4.NewFtyp("isom", 512, []string{"isom", "iso2", "avc1", "mp41"})
}

func (m *movie) moov(base uint64, long bool) (*mp4.MoovBox, error) {
	moov := mp4.NewMoovBox()
	mvhd := mp4.CreateMvhd()
	mvhd.Timescale, mvhd.NextTrackID = movieTimescale, audioTrack+1
	mvhd.Duration = uint64(max(m.videoDuration(), m.audioDuration()))
	mvhd.Version = versionFor(mvhd.Duration)
	mvhd.SetCreationTimeS(m.createdAt.Unix())
	mvhd.SetModificationTimeS(m.createdAt.Unix())
	moov.AddChild(mvhd)
	if m.video != nil {
		trak, err := m.videoTrak(base, long)
		if err != nil {
			return nil, err
		}
		moov.AddChild(trak)
	}
	if m.audio != nil {
		trak, err := m.audioTrak(base, long)
		if err != nil {
			return nil, err
		}
		moov.AddChild(trak)
	}
	if m.title != "" {
		udta, err := titleBox(m.title)
		if err != nil {
			return nil, err
		}
		moov.AddChild(udta)
	}
	return moov, nil
}

// videoDuration and audioDuration are in units of the movie's timescale.
func (m *movie) videoDuration() int64 {
	if m.deltas != nil {
		return rescale(int64(sum(m.deltas)), movieTimescale, variableTimescale)
	}
	return rescale(int64(m.video.samples()), movieTimescale, int64(m.fps))
}

func (m *movie) audioDuration() int64 {
	if m.audio == nil {
		return 0
	}
	return rescale(m.presented(), movieTimescale, int64(m.audio.config.SampleRate))
}

func (m *movie) videoTrak(base uint64, long bool) (*mp4.TrakBox, error) {
	timescale, delta := videoTimescale(m.fps)
	if m.deltas != nil {
		timescale = variableTimescale
	}
	avcc, err := mp4.CreateAvcC(m.video.sps, m.video.pps, true)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnnexB, err)
	}
	entry := mp4.CreateVisualSampleEntryBox("avc1", uint16(m.video.width), uint16(m.video.height), avcc)
	entry.CompressorName = ""
	if m.deltas == nil { // pictures that are passed through say their colours themselves
		// BT.709 primaries, transfer and matrix (ISO/IEC 23091-2: 1), limited range.
		entry.AddChild(&mp4.ColrBox{ColorType: mp4.ColorTypeOnScreenColors, ColorPrimaries: 1, TransferCharacteristics: 1, MatrixCoefficients: 1})
	}
	entry.AddChild(&mp4.PaspBox{HSpacing: 1, VSpacing: 1})

	t := track{id: videoTrack, handler: "vide", name: "Video", timescale: timescale, delta: delta, deltas: m.deltas, sizes: m.video.sizes,
		keys: m.video.keys, duration: m.videoDuration(), width: m.video.width, height: m.video.height, entry: entry, header: mp4.CreateVmhd()}
	return t.trak(m, base, long)
}

// variableTimescale is the timescale of a video whose frames have instants of their own.
const variableTimescale = 90000

// videoTimescale returns units a second and a frame.
func videoTimescale(fps int) (timescale, delta uint32) {
	if 90000%fps == 0 {
		return 90000, uint32(90000 / fps)
	}
	return uint32(fps) * 1000, 1000
}

func (m *movie) audioTrak(base uint64, long bool) (*mp4.TrakBox, error) {
	config := m.audio.config
	var asc bytes.Buffer
	spec := aac.AudioSpecificConfig{ObjectType: aac.AAClc, ChannelConfiguration: byte(config.Channels), SamplingFrequency: config.SampleRate}
	if err := spec.Encode(&asc); err != nil {
		return nil, fmt.Errorf("mp4: AudioSpecificConfig: %w", err)
	}
	esds := mp4.CreateEsdsBox(asc.Bytes())
	seconds := max(1, int64(m.audio.samples())*samplesPerAACFrame/int64(config.SampleRate))
	if d := esds.DecConfigDescriptor; d != nil {
		d.AvgBitrate = uint32(min(m.audio.total*8/uint64(seconds), math.MaxUint32))
		d.MaxBitrate = d.AvgBitrate
	}
	entry := mp4.CreateAudioSampleEntryBox("mp4a", uint16(config.Channels), 16, uint16(config.SampleRate), esds)
	t := track{id: audioTrack, handler: "soun", name: "Audio", timescale: uint32(config.SampleRate), delta: samplesPerAACFrame,
		sizes: m.audio.sizes, duration: m.audioDuration(), mediaStart: int64(m.priming), edited: true, entry: entry, header: mp4.CreateSmhd()}
	return t.trak(m, base, long)
}

// track is what the boxes of one trak are made of.
type track struct {
	id               uint32
	handler, name    string
	timescale, delta uint32
	deltas           []uint32 // nil: delta for all
	sizes            []uint32
	keys             []uint32 // nil: every sample is one
	duration         int64    // presented, in movie units
	mediaStart       int64    // first presented unit of the media
	edited           bool     // needs an edit list
	width, height    int
	entry, header    mp4.Box
}

func (t *track) trak(m *movie, base uint64, long bool) (*mp4.TrakBox, error) {
	trak := mp4.NewTrakBox()
	tkhd := mp4.CreateTkhd()
	tkhd.TrackID, tkhd.Duration, tkhd.Version = t.id, uint64(t.duration), versionFor(uint64(t.duration))
	tkhd.Width, tkhd.Height = mp4.Fixed32(t.width<<16), mp4.Fixed32(t.height<<16)
	if t.width == 0 {
		tkhd.Volume = 0x0100
	}
	tkhd.SetCreationTimeS(m.createdAt.Unix())
	tkhd.SetModificationTimeS(m.createdAt.Unix())
	trak.AddChild(tkhd)
	if t.edited {
		elst := &mp4.ElstBox{Version: versionFor(uint64(t.duration)), Entries: []mp4.ElstEntry{
			{SegmentDuration: uint64(t.duration), MediaTime: t.mediaStart, MediaRateInteger: 1}}}
		edts := &mp4.EdtsBox{}
		edts.AddChild(elst)
		trak.AddChild(edts)
	}

	mdhd := &mp4.MdhdBox{Timescale: t.timescale, Duration: uint64(len(t.sizes)) * uint64(t.delta)}
	if t.deltas != nil {
		mdhd.Duration = sum(t.deltas)
	}
	mdhd.Version = versionFor(mdhd.Duration)
	mdhd.SetLanguage("und")
	mdhd.SetCreationTimeS(m.createdAt.Unix())
	mdhd.SetModificationTimeS(m.createdAt.Unix())
	mdia, minf, dinf := mp4.NewMdiaBox(), mp4.NewMinfBox(), &mp4.DinfBox{}
	dinf.AddChild(mp4.CreateDref())
	minf.AddChild(t.header)
	minf.AddChild(dinf)
	stbl, err := t.stbl(m.chunks, base, long)
	if err != nil {
		return nil, err
	}
	minf.AddChild(stbl)
	mdia.AddChild(mdhd)
	mdia.AddChild(&mp4.HdlrBox{HandlerType: t.handler, Name: t.name})
	mdia.AddChild(minf)
	trak.AddChild(mdia)
	return trak, nil
}

// stts is the table of durations, in runs of equal ones.
func (t *track) stts() *mp4.SttsBox {
	if t.deltas == nil {
		return &mp4.SttsBox{SampleCount: []uint32{uint32(len(t.sizes))}, SampleTimeDelta: []uint32{t.delta}}
	}
	b := &mp4.SttsBox{}
	for _, d := range t.deltas {
		if n := len(b.SampleCount); n > 0 && b.SampleTimeDelta[n-1] == d {
			b.SampleCount[n-1]++
			continue
		}
		b.SampleCount, b.SampleTimeDelta = append(b.SampleCount, 1), append(b.SampleTimeDelta, d)
	}
	return b
}

func (t *track) stbl(chunks []chunk, base uint64, long bool) (*mp4.StblBox, error) {
	stbl, stsd := mp4.NewStblBox(), mp4.NewStsdBox()
	stsd.AddChild(t.entry)
	stbl.AddChild(stsd)
	stbl.AddChild(t.stts())
	if t.keys != nil {
		stbl.AddChild(&mp4.StssBox{SampleNumber: t.keys})
	}
	stsc, stco, co64 := &mp4.StscBox{}, &mp4.StcoBox{}, &mp4.Co64Box{}
	number, lastCount := uint32(0), 0
	for _, c := range chunks {
		if c.audio != (t.id == audioTrack) {
			continue
		}
		number++
		if c.count != lastCount {
			if err := stsc.AddEntry(number, uint32(c.count), 1); err != nil {
				return nil, fmt.Errorf("mp4: stsc: %w", err)
			}
			lastCount = c.count
		}
		if long {
			co64.ChunkOffset = append(co64.ChunkOffset, base+c.offset)
		} else {
			stco.ChunkOffset = append(stco.ChunkOffset, uint32(base+c.offset))
		}
	}
	stbl.AddChild(stsc)
	stbl.AddChild(&mp4.StszBox{SampleNumber: uint32(len(t.sizes)), SampleSize: t.sizes})
	if long {
		stbl.AddChild(co64)
	} else {
		stbl.AddChild(stco)
	}
	return stbl, nil
}

// versionFor chooses the 64-bit form of a box where a duration needs it.
func versionFor(duration uint64) byte {
	if duration > math.MaxUint32 {
		return 1
	}
	return 0
}

// titleBox is the iTunes-style name that players show: udta/meta/ilst/©nam/data.
func titleBox(title string) (mp4.Box, error) {
	// Type 1 is UTF-8 text; the locale is not set.
	payload := append([]byte{0, 0, 0, 1, 0, 0, 0, 0}, title...)
	name := mp4.NewGenericContainerBox("\xa9nam")
	name.AddChild(mp4.CreateUnknownBox("data", uint64(8+len(payload)), payload))
	ilst := &mp4.IlstBox{}
	ilst.AddChild(name)
	hdlr, err := mp4.CreateHdlr("mdir")
	if err != nil {
		return nil, fmt.Errorf("mp4: title: %w", err)
	}
	hdlr.Name = ""
	meta := mp4.CreateMetaBox(0, hdlr)
	meta.AddChild(ilst)
	udta := &mp4.UdtaBox{}
	udta.AddChild(meta)
	return udta, nil
}
