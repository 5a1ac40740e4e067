// Opens a page in the browser of this machine, with a made-up camera, and lets it publish by WHIP.
//
//   node publish.mjs '{"page": "http://…", "browser": "…", "profile": "folder", "run": {"screenUrl": "…", "webcamUrl": "…", "token": "…", "markers": 4}}'
//
// Prints one JSON object: what the page's run() returned, and what its console said.
import { chromium } from 'playwright-core';

const job = JSON.parse(process.argv[2]);
const context = await chromium.launchPersistentContext(job.profile, {
  executablePath: job.browser,
  headless: true,
  permissions: ['camera', 'microphone'],
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--mute-audio', '--autoplay-policy=no-user-gesture-required', '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream', '--allow-loopback-in-peer-connection', '--disable-background-timer-throttling',
    '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows'],
});
const report = { console: [] };
try {
  const page = await context.newPage();
  page.on('console', (m) => { if (m.type() === 'error') report.console.push(m.text()); });
  page.on('pageerror', (e) => report.console.push(String(e)));
  await page.goto(job.page);
  await page.waitForFunction('window.run');
  report.run = await page.evaluate((run) => window.run(run), job.run);
} finally {
  await context.close();
}
console.log(JSON.stringify(report));
