package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/dualrec/dualrec/recorder"
)

// profileFields are the columns of recorder.Profile. Its Validate checks the ranges.
func profileFields() []ent.Field {
	d := recorder.DefaultProfile()
	return []ent.Field{
		field.Enum("layout").GoType(recorder.Layout("")).Default(string(d.Layout)),
		field.Enum("resolution").GoType(recorder.Resolution("")).Default(string(d.Resolution)),
		field.Int("fps").Positive().Default(d.FPS),
		field.Bool("waveform_burn_in").Default(d.WaveformBurnIn),
		field.Enum("audio_mode").GoType(recorder.AudioMode("")).Default(string(d.AudioMode)),
		field.Enum("absent_webcam").GoType(recorder.AbsentWebcam("")).Default(string(d.AbsentWebcam)),
		field.Bool("passthrough").Default(d.Passthrough),
		field.Int("max_video_kbps").Positive().Default(d.MaxVideoKbps),
		field.Int("pip_width").Positive().Default(d.PipWidth),
		field.Int("pip_margin").NonNegative().Default(d.PipMargin),
		field.Int("segment_seconds").Positive().Default(d.SegmentSeconds),
		field.Int("auto_resume_seconds").NonNegative().Default(d.AutoResumeSec),
		field.Int("keyframe_screen_seconds").NonNegative().Default(d.KeyframeScreen),
		field.Int("keyframe_webcam_seconds").NonNegative().Default(d.KeyframeWebcam),
		field.Int("reconnect_seconds").Positive().Default(d.ReconnectSec),
	}
}
