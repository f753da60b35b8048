import { html, type Html } from './html.js';

const REQUESTS = 30;

export const raceView = (): Html => html`
  <div>
    <h1>The lab</h1>
    <p class="lead">
      ${REQUESTS} requests at once, each reads a number from your session, works for 10 ms and stores one
      more. Do all of them count?
    </p>
  </div>
  <noscript>
    <p class="flash bad">The race needs JavaScript. The rest of the shop does not.</p>
  </noscript>
  <div class="races">
    ${lane('locked', 'With the lock', 'The default: each request waits for its turn.')}
    ${lane('unlocked', 'Without', "@SessionLocking('explicit'), and nobody asks for the lock.")}
  </div>
  <script type="module" src="/assets/race.js"></script>
`;

const lane = (path: string, title: string, note: string) => html`
  <section class="card race" data-race="/lab/race/${path}" aria-labelledby="race-${path}">
    <h2 id="race-${path}">${title}</h2>
    <p class="note">${note}</p>
    <div class="dots" aria-hidden="true">${Array.from({ length: REQUESTS }, () => html`<i></i>`)}</div>
    <dl class="score">
      <div>
        <dt>Sent</dt>
        <dd data-sent>–</dd>
      </div>
      <div>
        <dt>Counted</dt>
        <dd data-counted>–</dd>
      </div>
    </dl>
    <p class="verdict" role="status" data-verdict></p>
    <button type="button" hidden>Send ${REQUESTS} × “+1”</button>
  </section>
`;
