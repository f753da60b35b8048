import type { Session } from 'nest-sessions';
import { html, type Html } from './html.js';
import { relativeTime } from './relative-time.js';

/** The session as this page found it. Never its id: that is the visitor's secret. */
export const sessionPanel = (
  session: Session,
  { storage, open }: { storage: string; open: boolean },
): Html => html`
  <details class="card session" ${open && html`open`}>
    <summary>Your session</summary>
    <dl>
      ${fact('isNew', yesNo(session.isNew))} ${fact('locked', yesNo(session.locked))}
      ${fact('owner', session.owner ?? 'none')} ${fact('createdAt', relativeTime(session.createdAt))}
      ${fact('expiresAt', relativeTime(session.expiresAt))} ${fact('timeout', `${session.timeout} minutes`)}
      ${fact('storage', storage)}
    </dl>
    <h3>data</h3>
    <pre tabindex="0"><code>${JSON.stringify(session, undefined, 2)}</code></pre>
  </details>
`;

const fact = (name: string, value: string | Html) => html`
  <div>
    <dt>${name}</dt>
    <dd>${value}</dd>
  </div>
`;

const yesNo = (value: boolean) => (value ? 'yes' : 'no');
