/**
 * What a backend may reject with if its storage cannot have got the request: nothing has happened, and nothing will.
 * After other failures a lock may have been taken, or be taken yet.
 */
export class UnsentRequestException extends Error {}
