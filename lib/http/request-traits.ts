import type { IncomingMessage, ServerResponse } from 'node:http';

/** Who knows the protocol: Express' or Fastify's request. */
export interface RequestSource {
  protocol?: string;
  secure?: boolean;
}

export function isBodyAwaited({ headers, complete }: IncomingMessage): boolean {
  return (
    !complete && (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0)
  );
}

export const isPreflight = ({ method, headers }: IncomingMessage): boolean =>
  method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;

export const isEventStream = (res: ServerResponse): boolean =>
  String(res.getHeader('content-type')).startsWith('text/event-stream');

/** Whether it came over HTTPS; a trusted proxy counts. */
export function isSecure({ socket }: IncomingMessage, source: RequestSource): boolean {
  try {
    return (
      (source.secure ?? source.protocol === 'https') ||
      Boolean((socket as { encrypted?: boolean } | null)?.encrypted)
    );
  } catch {
    return false; // Express asks the socket, which a request that comes from no connection may lack
  }
}
