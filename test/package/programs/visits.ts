import 'reflect-metadata';
import { Controller, Get, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Session, SessionsModule, SessionStore, type SessionModuleOptions } from 'nest-sessions';

declare module 'nest-sessions' {
  interface SessionData {
    visits?: number;
  }
}

const options: SessionModuleOptions = JSON.parse(process.env.SESSION_OPTIONS!);

@Injectable()
class VisitsService {
  constructor(private readonly sessions: SessionStore) {}

  async countOneMore(): Promise<number> {
    const session: Session = await this.sessions.current();
    const visits: number = session.get('visits', 0) + 1;
    session.set('visits', visits);
    return visits;
  }
}

@Controller()
class VisitsController {
  constructor(private readonly visits: VisitsService) {}

  @Get()
  async visit(@Session() session: Session) {
    await this.visits.countOneMore();
    return { visits: session.data.visits };
  }
}

@Module({
  imports: [SessionsModule.forRoot(options)],
  controllers: [VisitsController],
  providers: [VisitsService],
})
class AppModule {}

/** Prints what each of three requests of one client is answered, or why there is no application to ask. */
async function main(): Promise<void> {
  const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false });
  await app.listen(0, '127.0.0.1');
  let cookie = '';
  for (let request = 1; request <= 3; request++) {
    const response = await fetch(await app.getUrl(), { headers: { cookie } });
    cookie ||= response.headers.getSetCookie()[0]!.split(';')[0]!;
    console.log(response.status, await response.text());
  }
  await app.close();
}

main().catch((error: Error) => console.log(`${error.name}: ${error.message}`));
