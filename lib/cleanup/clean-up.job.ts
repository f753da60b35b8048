import { Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { SchedulerRegistry } from '@nestjs/schedule';
import { SessionRuntime } from '../session/session-runtime.js';

/** The name of the clean-up job in the application's `SchedulerRegistry`. */
export const SESSION_CLEAN_UP_JOB = 'nest-sessions:clean-up';

/**
 * Removes expired sessions every `cleanFreq` minutes. It is an interval in the application's
 * `SchedulerRegistry`, or in this module's own if the application has no `ScheduleModule`: importing
 * `ScheduleModule` here would run each of the application's own jobs twice.
 */
@Injectable()
export class SessionCleanUpJob implements OnApplicationBootstrap, OnModuleDestroy {
  private registry: SchedulerRegistry | undefined;
  private readonly stopped = new AbortController();

  constructor(
    private readonly runtime: SessionRuntime,
    private readonly modules: ModulesContainer,
    private readonly ownRegistry: SchedulerRegistry,
  ) {}

  onApplicationBootstrap(): void {
    const { cleanFreq } = this.runtime.options;
    if (cleanFreq > 0) {
      const timer = setInterval(() => this.run(), cleanFreq * 60_000);
      timer.unref(); // a command that is done need not wait for the next sweep
      this.registry = this.findRegistry();
      this.registry.addInterval(SESSION_CLEAN_UP_JOB, timer);
    }
  }

  onModuleDestroy(): void {
    this.stopped.abort();
    if (this.registry?.doesExist('interval', SESSION_CLEAN_UP_JOB)) {
      this.registry.deleteInterval(SESSION_CLEAN_UP_JOB);
    }
  }

  /** One that takes longer than `cleanFreq` is not overtaken by the next. */
  private run(): void {
    this.runtime.background(this.runtime.cleanUp(this.stopped.signal));
  }

  private findRegistry(): SchedulerRegistry {
    for (const { providers } of this.modules.values()) {
      const registry = providers.get(SchedulerRegistry)?.instance as SchedulerRegistry | undefined;
      if (registry && registry !== this.ownRegistry) {
        return registry;
      }
    }
    return this.ownRegistry;
  }
}
