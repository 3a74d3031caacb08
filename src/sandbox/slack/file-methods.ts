import { z } from 'zod';
import { threadOf, writableChannel } from './chat-methods.ts';
import type { SlackFile } from './file-shelf.ts';
import { SLACK_LIMITS as LIMITS } from './slack-limits.ts';
import { fileObject } from './slack-objects.ts';
import {
  type ApiAnswer,
  type ApiCall,
  type ApiFailure,
  type ApiMethod,
  failure,
  missingArgument,
} from './web-api-call.ts';

export const FILE_METHODS: Record<string, ApiMethod> = {
  'files.getUploadURLExternal': { tier: 'tier4', scopes: ['files:write'], run: announce },
  'files.completeUploadExternal': { tier: 'tier4', scopes: ['files:write'], run: complete },
  'files.info': { tier: 'tier4', scopes: ['files:read'], run: info },
};

const ToComplete = z
  .array(
    z.strictObject({
      id: z.string().min(1),
      title: z.string().optional(),
      highlight_type: z.string().optional(),
    }),
  )
  .min(1);

function announce(call: ApiCall): ApiAnswer {
  const name = call.args.text('filename');
  if (name === undefined) return missingArgument('filename');
  const size = Number(call.args.text('length') ?? 0);
  // Slack's own words for a length of 0.
  if (size === 0) return failure('missing_argument');
  if (!Number.isSafeInteger(size) || size < 0) {
    return failure('invalid_arguments', ['must be an integer [json-pointer:/length]']);
  }
  const altText = call.args.text('alt_txt') ?? call.args.text('alt_text');
  if ((altText?.length ?? 0) > LIMITS.fileAltText) return failure('alt_txt_too_large');
  if (call.args.text('snippet_type') !== undefined && size > LIMITS.snippetBytes) {
    return failure('snippet_too_large');
  }
  if (size > LIMITS.fileBytes) return failure('file_upload_size_restricted');
  const { state, workspace, installation } = call;
  const user = installation.botUser;
  const { file, path } = state.files.announce({ team: workspace.team, name, size, altText, user });
  return { ok: true, upload_url: `${state.url()}${path}`, file_id: file.id };
}

function complete(call: ApiCall): ApiAnswer {
  const files = filesToComplete(call);
  if (!files.ok) return files;
  const { state, workspace, installation, args } = call;
  const channel = args.text('channel_id');
  if (args.all.blocks !== undefined || args.all.channels !== undefined) {
    return failure('invalid_arguments', ['this local Slack takes channel_id and initial_comment alone']);
  }
  if (channel === undefined && args.text('thread_ts') !== undefined) return missingArgument('channel_id');
  if (channel !== undefined) {
    const place = writableChannel(call, channel);
    if (!place.ok) return place;
    const thread = threadOf(call, place.channel);
    if (!thread.ok) return thread;
    const message = state.conversations.post({
      team: workspace.team,
      channel,
      author: { kind: 'app', user: installation.botUser },
      text: args.text('initial_comment') ?? '',
      blocks: [],
      files: files.files,
      ...thread.fields,
    });
    for (const file of files.files) file.shares.push({ channel, ts: message.ts });
  }
  for (const file of files.files) file.completed = true;
  return { ok: true, files: files.files.map(({ id, title }) => ({ id, title })) };
}

/** All of them are there, uploaded and not yet completed, or none is touched. */
function filesToComplete(call: ApiCall): { ok: true; files: SlackFile[] } | ApiFailure {
  const given = call.args.json('files');
  if (!given) return missingArgument('files');
  const parsed = 'broken' in given ? undefined : ToComplete.safeParse(given.value);
  if (!parsed?.success) {
    return failure('invalid_arguments', ['must be a list of { id, title } [json-pointer:/files]']);
  }
  const files: SlackFile[] = [];
  for (const { id } of parsed.data) {
    const file = call.state.files.find(call.workspace.team, id);
    if (file?.bytes === undefined || file.completed || files.includes(file)) return failure('file_not_found');
    files.push(file);
  }
  for (const [index, { title }] of parsed.data.entries()) {
    const file = files[index];
    if (file !== undefined && title !== undefined) file.title = title;
  }
  return { ok: true, files };
}

function info(call: ApiCall): ApiAnswer {
  const id = call.args.text('file');
  if (id === undefined) return missingArgument('file');
  const file = call.state.files.find(call.workspace.team, id);
  if (!file?.completed) return failure('file_not_found');
  return { ok: true, file: fileObject(file), comments: [] };
}
