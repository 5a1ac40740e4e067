import { Dualrec, DualrecError, recordCall, type CallEvent } from '@dualrec/mediasoup';
import type { types } from 'mediasoup';

// One per process.
const dualrec = new Dualrec({
  url: process.env['DUALREC_URL'] ?? 'http://127.0.0.1:8080/graphql',
  apiKey: process.env['DUALREC_API_KEY'] ?? '',
  log: ({ level, message, ...fields }) => console[level](message, fields),
});

/** A call of your SFU: what it knows when both sides are connected. */
interface Call {
  id: string;
  queue: string;
  agentId: string;
  router: types.Router;
  screen?: types.Producer;
  webcam?: types.Producer;
  agentMic: types.Producer;
  customer: types.Producer;
}

export async function record(call: Call) {
  const { screen, webcam, agentMic: agentAudio, customer: customerAudio } = call;
  const recorded = await recordCall(call.router, { screen, webcam, agentAudio, customerAudio }, {
    dualrec,
    externalSessionId: call.id,
    queue: call.queue,
    agent: call.agentId,
    expect: ['screen', 'webcam'], // may come later
    listenInfo: { protocol: 'udp', ip: '10.0.0.5', portRange: { min: 42000, max: 42999 } },
    onEvent: (event: CallEvent) => {
      if (event.type === 'trackfailed') console.error(`${event.track} is not recorded: ${event.error.code}`);
    },
  });

  return {
    screenShared: (producer: types.Producer) => recorded.replace('screen', producer),
    webcamOn: (producer: types.Producer) => recorded.replace('webcam', producer),
    // When a producer closes, nothing is to be done.
    cardNumber: async (ask: () => Promise<void>) => {
      try {
        await recorded.pause({ reason: 'PAYMENT', autoResumeAfterSeconds: 120 });
        await ask();
      } finally {
        await recorded.resume();
      }
    },
    hangUp: async () => {
      try {
        await recorded.stop();
      } catch (error) {
        // The recorder ends it by itself when nothing has come for a while.
        if (!(error instanceof DualrecError) || !error.retryable) throw error;
      }
    },
  };
}
