import { Cookie } from 'tough-cookie';
import type { Answer } from './client.js';

/** The cookies that an answer sets, as a browser reads them. */
export function setCookies(answer: Answer): Cookie[] {
  return answer.setCookies.map(text => {
    const cookie = Cookie.parse(text);
    if (!cookie) {
      throw new Error(`Not a cookie: ${text}`);
    }
    return cookie;
  });
}

/** The session's cookie, if the answer sets it. @throws if it sets it twice */
export function sessionCookie(answer: Answer, name = 'session_id'): Cookie | undefined {
  const [cookie, second] = setCookies(answer).filter(({ key }) => key === name);
  if (second) {
    throw new Error(`The answer sets ${name} twice`);
  }
  return cookie;
}
