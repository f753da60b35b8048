import type { OwnedSession } from 'nest-sessions';
import { describeDevice } from '../account/describe-device.js';
import { html, type Html } from './html.js';
import { icon } from './icons.js';
import { relativeTime } from './relative-time.js';

export const loginView = (maxName: number): Html => html`
  <h1>Log in</h1>
  <form class="card login" method="post" action="/account/login">
    <label for="name">Your name</label>
    <input
      id="name"
      name="name"
      required
      maxlength="${maxName}"
      autocomplete="nickname"
      aria-describedby="hint"
    />
    <p class="note" id="hint">
      Any name will do, there is no password here. Use the same one in another browser, and My devices shows
      both, if the storage can list them.
    </p>
    <button>Log in</button>
  </form>
`;

/** @param sessions undefined if the storage cannot list them */
export const devicesView = (displayName: string, sessions: readonly OwnedSession[] | undefined): Html => html`
  <div class="heading">
    <div>
      <h1>Hello, ${displayName}</h1>
      <p class="lead">
        ${sessions ? 'Your account is open on these devices.' : 'Your account is open on this device.'}
      </p>
    </div>
    <form method="post" action="/account/logout"><button class="second">Log out</button></form>
  </div>
  <section class="card" aria-labelledby="devices">
    <h2 id="devices">My devices</h2>
    ${sessions ? deviceList(sessions) : noList}
  </section>
`;

const deviceList = (sessions: readonly OwnedSession[]) => html`
  <ul class="devices">
    ${sessions.map(device)}
  </ul>
  ${
    sessions.length > 1 &&
    html`<form method="post" action="/account/devices/end-others">
      <button class="danger">Log out all others</button>
    </form>`
  }
`;

const noList = html`
  <p class="no-list">
    This storage keeps no list of devices. You can log out here, and on each of the others.
  </p>
`;

function device({ key, current, data, createdAt, expiresAt }: OwnedSession): Html {
  const { name, kind } = describeDevice(data.userAgent ?? '');
  return html`
    <li class="device">
      <span class="device-icon">${icon(kind)}</span>
      <div class="what">
        <h3>${name} ${current && html`<span class="chip">this device</span>`}</h3>
        <p class="note">Since ${relativeTime(createdAt)}, expires ${relativeTime(expiresAt)}</p>
      </div>
      ${
        !current &&
        html`<form method="post" action="/account/devices/end">
          <input type="hidden" name="key" value="${key}" />
          <button class="quiet" aria-label="Log out ${name}">Log out</button>
        </form>`
      }
    </li>
  `;
}
