// An agent of the kill sweep: calls the guard as it is told over the channel of its parent, and says what came of it.
const { modules, tools, options } = JSON.parse(process.env.AGENT);
const { createGuard } = await import(modules.createGuard);
const { tools: given } = await import(tools);
const guard = createGuard({ ...options, tools: given });

process.on('message', async (message) => {
  if (message === null || typeof message !== 'object' || !('ask' in message)) return;
  const { n, ask } = message;
  try {
    process.send({ n, answer: await answerTo(ask) });
  } catch (error) {
    process.send({ n, error: { name: error.name, code: error.code, message: String(error.message) } });
  }
});
process.on('disconnect', () => process.exit(0));
process.send({ ready: true });

async function answerTo(ask) {
  if (ask.what === 'propose') return (await guard.propose(ask.call, ask.context)).id;
  const handle = await guard.attach(ask.id, ask.context);
  if (ask.what === 'withdraw') return handle.withdraw('the sweep says so');
  return handle.result({ timeout: ask.timeout });
}
