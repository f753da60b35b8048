import { randomBytes } from 'node:crypto';
import { OWNER_LEASE, type OwnerLock } from '../locked-admission.js';
import type { RedisConnection } from './redis.connection.js';
import { CLAIM_OWNER, RELEASE_OWNER, RENEW_OWNER } from './redis.scripts.js';

/** A claim on the lock of an owner, under which a session becomes the owner's. It lapses by itself. */
export class RedisOwnerLock implements OwnerLock {
  private readonly token = randomBytes(16).toString('base64url');

  /** @param name of its key */
  constructor(
    private readonly connection: RedisConnection,
    private readonly name: string,
  ) {}

  async claim(): Promise<boolean> {
    return (await this.connection.run(CLAIM_OWNER, this.name, this.token, String(OWNER_LEASE))) === 1;
  }

  async renew(): Promise<boolean> {
    return (await this.connection.run(RENEW_OWNER, this.name, this.token, String(OWNER_LEASE))) === 1;
  }

  async remove(): Promise<void> {
    await this.connection.run(RELEASE_OWNER, this.name, this.token);
  }
}
