import { z } from 'zod';
import { type Checked, checkBlocks, inSlackWords } from './block-check.ts';
import { type Block, ModalText } from './block-kit.ts';
import type { StateValues } from './person-interface.ts';
import { SLACK_LIMITS as LIMITS } from './slack-limits.ts';

const common = {
  blocks: z.array(z.unknown()),
  private_metadata: z.string().max(LIMITS.privateMetadata).optional(),
  callback_id: z.string().max(LIMITS.id).optional(),
  external_id: z.string().max(LIMITS.id).optional(),
};

const ViewPayload = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('modal'),
    title: ModalText,
    submit: ModalText.optional(),
    close: ModalText.optional(),
    clear_on_close: z.boolean().optional(),
    notify_on_close: z.boolean().optional(),
    ...common,
  }),
  z.strictObject({ type: z.literal('home'), ...common }),
]);

type Text = { type: 'plain_text'; text: string; emoji: boolean };

/** What the app gave, checked, with Slack's defaults filled in. */
export interface ViewContent {
  type: 'modal' | 'home';
  title: Text | null;
  submit: Text | null;
  close: Text | null;
  blocks: Block[];
  private_metadata: string;
  callback_id: string;
  external_id: string;
  clear_on_close: boolean;
  notify_on_close: boolean;
}

/** A view before one person. */
export interface View {
  id: string;
  team: string;
  user: string;
  content: ViewContent;
  /** Changes with each update: `views.update` with an old one is `hash_conflict`. */
  hash: string;
  state: StateValues;
  errors: Record<string, string>;
  rootId: string;
  previousId: string | null;
}

export function checkView(input: unknown, newId: () => string): Checked<ViewContent> {
  const parsed = ViewPayload.safeParse(input);
  if (!parsed.success) return { ok: false, problems: inSlackWords(parsed.error, '/view', input) };
  const view = parsed.data;
  const blocks = checkBlocks(view.blocks, view.type, newId);
  if (!blocks.ok) return blocks;
  const modal = view.type === 'modal' ? view : undefined;
  if (modal && !modal.submit && blocks.value.some((block) => block.type === 'input')) {
    return { ok: false, problems: ['missing required field: submit [json-pointer:/view]'] };
  }
  return {
    ok: true,
    value: {
      type: view.type,
      title: withEmoji(modal?.title),
      submit: withEmoji(modal?.submit),
      close: withEmoji(modal?.close),
      blocks: blocks.value,
      private_metadata: view.private_metadata ?? '',
      callback_id: view.callback_id ?? '',
      external_id: view.external_id ?? '',
      clear_on_close: modal?.clear_on_close ?? false,
      notify_on_close: modal?.notify_on_close ?? false,
    },
  };
}

function withEmoji(text: z.infer<typeof ModalText> | undefined): Text | null {
  return text === undefined ? null : { ...text, emoji: text.emoji ?? true };
}
