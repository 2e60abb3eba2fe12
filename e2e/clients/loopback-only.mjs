// Preloaded with --import: a listener that names no address gets 127.0.0.1, not every interface.
//
// `_listen2` is where Node binds. Giving `listen` a host instead would look it up first, and the suite
// relies on the bind being done when `listen` returns.

import net from "node:net";

const bind = net.Server.prototype._listen2;

net.Server.prototype._listen2 = function (address, port, family, ...rest) {
  const everywhere = !address && typeof port === "number" && port >= 0;
  return everywhere ? bind.call(this, "127.0.0.1", port, 4, ...rest) : bind.call(this, address, port, family, ...rest);
};
