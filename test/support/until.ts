import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until a condition holds. @throws if it takes too long */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() >= deadline) {
      throw new Error(`Waited in vain, for ${timeoutMs} ms: ${condition}`);
    }
    await sleep(5);
  }
}
