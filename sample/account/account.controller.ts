import { Body, Controller, Headers, Post, Redirect, UnauthorizedException } from '@nestjs/common';
import { Session, SessionStore, SessionUnsupportedException, type OwnedSession } from 'nest-sessions';
import { Page, renderPage } from '../page.js';
import { devicesView, loginView } from '../views/account.view.js';

const MAX_NAME = 40;
const MAX_USER_AGENT = 300;

@Controller('account')
export class AccountController {
  constructor(private readonly sessions: SessionStore) {}

  @Page()
  async show(@Session() session: Session): Promise<string> {
    const { owner } = session;
    const body =
      owner === undefined
        ? loginView(MAX_NAME)
        : devicesView(session.get('displayName', owner), await this.devicesOf(owner));
    return renderPage(session, {
      title: owner === undefined ? 'Log in' : 'My devices',
      tab: 'account',
      body,
    });
  }

  @Post('login')
  @Redirect('/account', 303)
  async login(
    @Session() session: Session,
    @Body('name') input: unknown,
    @Headers('user-agent') userAgent = '',
  ): Promise<void> {
    const displayName = typeof input === 'string' ? input.trim().slice(0, MAX_NAME) : '';
    if (displayName === '') {
      session.set('flash', { tone: 'bad', text: 'Please tell us your name.' });
      return;
    }
    // A new id, the same cart: whoever knew the old id does not get into the account.
    await session.regenerate();
    session.owner = displayName.toLowerCase();
    session.update({
      displayName,
      userAgent: userAgent.slice(0, MAX_USER_AGENT),
      flash: { tone: 'good', text: `Welcome, ${displayName}. Your cart came along.` },
    });
  }

  @Post('logout')
  @Redirect('/', 303)
  async logout(@Session() session: Session): Promise<void> {
    await session.destroy();
    // Starts a new session, which has nothing but this message.
    session.set('flash', { tone: 'good', text: 'You are logged out. See you soon!' });
  }

  @Post('devices/end')
  @Redirect('/account', 303)
  async endOne(@Session() session: Session, @Body('key') key: unknown): Promise<void> {
    const ended = await this.sessions.destroyByOwner(requireOwner(session), { only: String(key) });
    session.set(
      'flash',
      ended > 0
        ? { tone: 'good', text: 'That device is logged out.' }
        : { tone: 'bad', text: 'That device was logged out already.' },
    );
  }

  @Post('devices/end-others')
  @Redirect('/account', 303)
  async endOthers(@Session() session: Session): Promise<void> {
    const ended = await this.sessions.destroyByOwner(requireOwner(session), { except: session.id });
    session.set('flash', {
      tone: 'good',
      text: `${ended} other ${ended === 1 ? 'device is' : 'devices are'} logged out.`,
    });
  }

  /** @returns undefined if the storage keeps no such list, as memcached does not */
  private async devicesOf(owner: string): Promise<OwnedSession[] | undefined> {
    try {
      return await this.sessions.findByOwner(owner);
    } catch (error) {
      if (error instanceof SessionUnsupportedException) {
        return undefined;
      }
      throw error;
    }
  }
}

function requireOwner(session: Session): string {
  if (session.owner === undefined) {
    throw new UnauthorizedException('You are not logged in any more');
  }
  return session.owner;
}
