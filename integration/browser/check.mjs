// Loads a page in the browser of this machine and tells what its <video> does.
//
//   node check.mjs '{"page": "http://…", "media": "http://…", "screenshot": "x.png", "profile": "folder", "seeks": [20, 3]}'
//
// Prints one JSON object. The page must hold one <video>.
import { chromium } from 'playwright-core';

const job = JSON.parse(process.argv[2]);
const context = await chromium.launchPersistentContext(job.profile, {
  executablePath: job.browser,
  headless: true,
  viewport: { width: 1600, height: 620 },
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required', '--mute-audio'],
});
const report = { console: [], statuses: [] };
try {
  const page = await context.newPage();
  page.on('console', (m) => { if (m.type() === 'error') report.console.push(m.text()); });
  page.on('pageerror', (e) => report.console.push(String(e)));
  page.on('response', (r) => { if (r.url() === job.media) report.statuses.push(r.status()); });
  await page.goto(job.page);
  report.video = await page.evaluate(async (seeks) => {
    const video = document.querySelector('video');
    const fail = (what) => { throw new Error(`${what}: error ${video.error?.code} ${video.error?.message}, readyState ${video.readyState}`); };
    const until = (what, so) => new Promise((resolve, reject) => {
      const started = performance.now();
      const look = () => {
        if (so()) resolve();
        else if (video.error || performance.now() - started > 30000) reject(new Error(`${what}: error ${video.error?.code} ${video.error?.message}, at ${video.currentTime}, readyState ${video.readyState}`));
        else setTimeout(look, 20);
      };
      look();
    });
    await until('metadata', () => video.readyState >= 1);
    await video.play().catch((e) => fail(`play: ${e}`));
    await until('plays', () => video.currentTime > 0.5);
    const out = { width: video.videoWidth, height: video.videoHeight, duration: video.duration, playedTo: video.currentTime, seeks: [] };
    for (const to of seeks) {
      video.currentTime = to;
      await until(`seek to ${to}`, () => !video.seeking && video.readyState >= 2);
      const landed = video.currentTime;
      await until(`plays on from ${to}`, () => video.currentTime > to + 0.3);
      out.seeks.push({ to, landed });
    }
    video.pause();
    video.currentTime = seeks[0];
    await until('last seek', () => !video.seeking && video.readyState >= 2);
    const canvas = new OffscreenCanvas(320, 108);
    const paint = canvas.getContext('2d');
    paint.drawImage(video, 0, 0, 320, 108);
    const average = (x, y, w, h) => {
      const d = paint.getImageData(x, y, w, h).data;
      let sum = 0;
      for (let i = 0; i < d.length; i += 4) sum += (d[i] + d[i + 1] + d[i + 2]) / 3;
      return sum / (d.length / 4);
    };
    try { out.screen = average(0, 0, 192, 108); out.webcam = average(192, 18, 128, 72); } catch (e) { out.tainted = String(e); }
    out.error = video.error && video.error.message;
    return out;
  }, job.seeks);
  report.fetched = await page.evaluate(async (url) => {
    const r = await fetch(url, { headers: { Range: 'bytes=100-199' } });
    return { status: r.status, bytes: (await r.arrayBuffer()).byteLength, range: r.headers.get('Content-Range') };
  }, job.media);
  await page.screenshot({ path: job.screenshot });
} finally {
  await context.close();
}
console.log(JSON.stringify(report));
