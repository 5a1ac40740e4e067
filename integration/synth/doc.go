// Package synth makes calls that no capture has. It draws small pictures with their own number in them, has FFmpeg
// encode them, and cuts them into RTP packets as an SFU sends them, sender reports included. What it makes is a
// player.Track like a captured one, so everything that plays or reads captures works with it.
//
// Picture n of a source of f pictures a second is captured at n/f of the call, whenever the source begins. So the number
// that a finished recording shows at an instant says which picture it is, how late it is, and which ones are missing.
// Every two seconds, 100 ms long, there is a marker: a white box in the middle of every picture and a tone of 1 kHz.
//
// It imports no package of the project outside of integration.
package synth
