import { Hub } from "./hub";
import { SLOTS } from "./slots";

const scope = self as unknown as { name: string; onconnect: ((event: MessageEvent) => void) | null };
const hub = new Hub(scope.name, SLOTS);

scope.onconnect = (event) => {
  const port = event.ports[0];
  if (port) hub.join(port);
};
