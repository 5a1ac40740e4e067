package integration_test

import (
	"testing"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// TestSRTP: media, repairs, reports and the recorder's wishes are encrypted by each suite that mediasoup has, on a line that
// loses. What does not authenticate is counted and dropped.
func TestSRTP(t *testing.T) {
	t.Parallel()
	for suite, repair := range map[string]player.Repair{"AES_CM_128_HMAC_SHA1_80": player.RepairRTX, "AES_CM_128_HMAC_SHA1_32": player.RepairNACK,
		"AEAD_AES_128_GCM": player.RepairRTX, "AEAD_AES_256_GCM": player.RepairNACK} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			const length = 6 * second
			m := dual(length, repair)
			c := theSite(t).startMade(t, m, player.StartInput{SRTPCryptoSuite: suite}, over(player.Random{Seed: 16, Loss: 0.03}, length))
			strangers := map[int]*player.Sender{}
			for i, track := range c.media.Tracks {
				strangers[i] = c.sender(track.Kind())
			}
			n := 0
			c.playWith(length, func(p player.Scheduled) {
				c.senders[p.Track].Send(p.Packet)
				if n++; n%10 == 0 {
					strangers[p.Track].Send(p.Packet) // the same in the clear, from elsewhere
				}
			})
			s := c.finishMade(m)
			for _, kind := range madeKinds {
				c.checkLost(s.v, kind)
				if c.checkRepaired(s.v, kind) == 0 {
					t.Errorf("%s: nothing had to be repaired", kind)
				}
				if r := c.senderOf(kind).Received(); r.NACK == 0 || r.Malformed > 0 {
					t.Errorf("%s: the recorder's wishes cannot be read: %+v", kind, r)
				}
			}
			for _, kind := range []string{"SCREEN", "WEBCAM"} {
				s.checkEveryPicture(t, m, kind, 0, length-most)
			}
		})
	}
}
