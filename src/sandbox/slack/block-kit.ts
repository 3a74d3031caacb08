import { z } from 'zod';
import { SLACK_LIMITS as LIMITS } from './slack-limits.ts';

/**
 * The part of Block Kit that this Slack knows. Every object is strict: a field that Slack does not have is refused, as
 * Slack does. Block types that Slack has and this list has not (video, file, table, card …) are refused as well: adding
 * one means writing down its limits.
 */

const plainText = (max: number, min = 1) =>
  z.strictObject({
    type: z.literal('plain_text'),
    text: z.string().min(min).max(max),
    emoji: z.boolean().optional(),
  });

const mrkdwn = (max: number) =>
  z.strictObject({
    type: z.literal('mrkdwn'),
    text: z.string().min(1).max(max),
    verbatim: z.boolean().optional(),
  });

const textObject = (max: number) => z.discriminatedUnion('type', [plainText(max), mrkdwn(max)]);

const id = z.string().min(1).max(LIMITS.id).optional();
const action = { action_id: id };
const focus = { focus_on_load: z.boolean().optional() };
const placeholder = { placeholder: plainText(LIMITS.placeholder).optional() };

const confirm = {
  confirm: z
    .strictObject({
      title: plainText(LIMITS.confirmTitle).optional(),
      text: textObject(LIMITS.confirmText),
      confirm: plainText(LIMITS.confirmButton).optional(),
      deny: plainText(LIMITS.confirmButton).optional(),
      style: z.enum(['primary', 'danger']).optional(),
    })
    .optional(),
};

const option = (text: z.ZodType) =>
  z.strictObject({
    text,
    value: z.string().min(1).max(LIMITS.optionValue),
    description: textObject(LIMITS.optionText).optional(),
    url: z.string().max(LIMITS.buttonUrl).optional(),
  });
const plainOption = option(plainText(LIMITS.optionText));
const anyOption = option(textObject(LIMITS.optionText));
const optionGroups = z
  .array(
    z.strictObject({
      label: plainText(LIMITS.optionText),
      options: z.array(plainOption).min(1).max(LIMITS.selectOptions),
    }),
  )
  .min(1)
  .max(LIMITS.selectOptions);

const image = z.strictObject({
  type: z.literal('image'),
  image_url: z.url().max(LIMITS.imageUrl),
  alt_text: z.string().min(1).max(LIMITS.altText),
});

const button = z.strictObject({
  type: z.literal('button'),
  ...action,
  ...confirm,
  text: plainText(LIMITS.buttonText),
  value: z.string().max(LIMITS.buttonValue).optional(),
  url: z.string().max(LIMITS.buttonUrl).optional(),
  style: z.enum(['primary', 'danger']).optional(),
  accessibility_label: z.string().max(LIMITS.accessibilityLabel).optional(),
});

const checkboxes = z.strictObject({
  type: z.literal('checkboxes'),
  ...action,
  ...confirm,
  ...focus,
  options: z.array(anyOption).min(1).max(LIMITS.checkOptions),
  initial_options: z.array(anyOption).min(1).optional(),
});

const radioButtons = z.strictObject({
  type: z.literal('radio_buttons'),
  ...action,
  ...confirm,
  ...focus,
  options: z.array(anyOption).min(1).max(LIMITS.checkOptions),
  initial_option: anyOption.optional(),
});

const overflow = z.strictObject({
  type: z.literal('overflow'),
  ...action,
  ...confirm,
  options: z.array(plainOption).min(1).max(LIMITS.overflowOptions),
});

const select = <Type extends string, Shape extends z.ZodRawShape>(type: Type, shape: Shape) =>
  z.strictObject({ type: z.literal(type), ...action, ...confirm, ...focus, ...placeholder, ...shape });
const maxSelected = { max_selected_items: z.int().min(1).optional() };
const staticOptions = {
  options: z.array(plainOption).min(1).max(LIMITS.selectOptions).optional(),
  option_groups: optionGroups.optional(),
};

const selects = [
  select('static_select', { ...staticOptions, initial_option: plainOption.optional() }),
  select('multi_static_select', {
    ...staticOptions,
    ...maxSelected,
    initial_options: z.array(plainOption).optional(),
  }),
  select('users_select', { initial_user: z.string().optional() }),
  select('multi_users_select', { ...maxSelected, initial_users: z.array(z.string()).optional() }),
  select('datepicker', { initial_date: z.iso.date().optional() }),
  select('timepicker', {
    initial_time: z
      .string()
      .regex(/^([01]\d|2[0-3]):[0-5]\d$/)
      .optional(),
    timezone: z.string().optional(),
  }),
] as const;

const datetimepicker = z.strictObject({
  type: z.literal('datetimepicker'),
  ...action,
  ...confirm,
  ...focus,
  initial_date_time: z.int().optional(),
});

const typed = <Type extends string, Shape extends z.ZodRawShape>(type: Type, shape: Shape) =>
  z.strictObject({
    type: z.literal(type),
    ...action,
    ...focus,
    ...placeholder,
    dispatch_action_config: z
      .strictObject({
        trigger_actions_on: z.array(z.enum(['on_enter_pressed', 'on_character_entered'])).min(1),
      })
      .optional(),
    ...shape,
  });

const textInputs = [
  typed('plain_text_input', {
    initial_value: z.string().max(LIMITS.inputLength).optional(),
    multiline: z.boolean().optional(),
    min_length: z.int().min(0).max(LIMITS.inputLength).optional(),
    max_length: z.int().min(1).max(LIMITS.inputLength).optional(),
  }),
  typed('email_text_input', { initial_value: z.string().optional() }),
  typed('url_text_input', { initial_value: z.string().optional() }),
  typed('number_input', {
    is_decimal_allowed: z.boolean(),
    initial_value: z.string().optional(),
    min_value: z.string().optional(),
    max_value: z.string().optional(),
  }),
] as const;

/* ---- rich text: the only block in which a text is never parsed ---- */

const style = {
  style: z
    .strictObject({
      bold: z.boolean().optional(),
      italic: z.boolean().optional(),
      strike: z.boolean().optional(),
      code: z.boolean().optional(),
      underline: z.boolean().optional(),
    })
    .optional(),
};
const richText = z.strictObject({ type: z.literal('text'), text: z.string().min(1), ...style });
const richLink = z.strictObject({
  type: z.literal('link'),
  url: z.string().min(1),
  text: z.string().optional(),
  unsafe: z.boolean().optional(),
  ...style,
});
const richElement = z.discriminatedUnion('type', [
  richText,
  richLink,
  z.strictObject({ type: z.literal('user'), user_id: z.string(), ...style }),
  z.strictObject({ type: z.literal('usergroup'), usergroup_id: z.string(), ...style }),
  z.strictObject({ type: z.literal('channel'), channel_id: z.string(), ...style }),
  z.strictObject({ type: z.literal('broadcast'), range: z.enum(['here', 'channel', 'everyone']), ...style }),
  z.strictObject({
    type: z.literal('emoji'),
    name: z.string().min(1),
    unicode: z.string().optional(),
    ...style,
  }),
  z.strictObject({
    type: z.literal('date'),
    timestamp: z.int(),
    format: z.string().min(1),
    url: z.string().optional(),
    fallback: z.string().optional(),
    ...style,
  }),
]);
const border = { border: z.union([z.literal(0), z.literal(1)]).optional() };
const richSection = z.strictObject({ type: z.literal('rich_text_section'), elements: z.array(richElement) });
const richBlockElement = z.discriminatedUnion('type', [
  richSection,
  z.strictObject({
    type: z.literal('rich_text_preformatted'),
    elements: z.array(z.discriminatedUnion('type', [richText, richLink])),
    ...border,
  }),
  z.strictObject({ type: z.literal('rich_text_quote'), elements: z.array(richElement), ...border }),
  z.strictObject({
    type: z.literal('rich_text_list'),
    style: z.enum(['bullet', 'ordered']),
    elements: z.array(richSection).min(1),
    indent: z.int().min(0).max(8).optional(),
    offset: z.int().min(0).optional(),
    ...border,
  }),
]);

/* ---- blocks ---- */

const block = { block_id: id };

export const Block = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('actions'),
    ...block,
    elements: z
      .array(
        z.discriminatedUnion('type', [
          button,
          checkboxes,
          radioButtons,
          overflow,
          ...selects,
          datetimepicker,
        ]),
      )
      .min(1)
      .max(LIMITS.actionsElements),
  }),
  z.strictObject({
    type: z.literal('context'),
    ...block,
    elements: z
      .array(z.discriminatedUnion('type', [image, plainText(LIMITS.fieldText), mrkdwn(LIMITS.fieldText)]))
      .min(1)
      .max(LIMITS.contextElements),
  }),
  z.strictObject({ type: z.literal('divider'), ...block }),
  z.strictObject({ type: z.literal('header'), ...block, text: plainText(LIMITS.headerText) }),
  image.extend({ ...block, title: plainText(LIMITS.altText).optional() }),
  z.strictObject({
    type: z.literal('input'),
    ...block,
    label: plainText(LIMITS.labelText),
    hint: plainText(LIMITS.labelText).optional(),
    optional: z.boolean().optional(),
    dispatch_action: z.boolean().optional(),
    element: z.discriminatedUnion('type', [
      ...textInputs,
      ...selects,
      checkboxes,
      radioButtons,
      datetimepicker,
    ]),
  }),
  z.strictObject({
    type: z.literal('markdown'),
    ...block,
    text: z.string().min(1).max(LIMITS.markdownText),
  }),
  z.strictObject({ type: z.literal('rich_text'), ...block, elements: z.array(richBlockElement).min(1) }),
  z
    .strictObject({
      type: z.literal('section'),
      ...block,
      text: textObject(LIMITS.sectionText).optional(),
      fields: z.array(textObject(LIMITS.fieldText)).min(1).max(LIMITS.sectionFields).optional(),
      accessory: z
        .discriminatedUnion('type', [button, image, checkboxes, radioButtons, overflow, ...selects])
        .optional(),
      expand: z.boolean().optional(),
    })
    .refine((section) => section.text !== undefined || section.fields !== undefined, {
      path: ['text'],
      message: 'missing required field: text',
    }),
]);
export type Block = z.infer<typeof Block>;

/** Title, submit and close of a modal all have the same length. */
export const ModalText = plainText(LIMITS.modalTitle);

type Elements = Extract<Block, { type: 'actions' }>['elements'][number];
type Inputs = Extract<Block, { type: 'input' }>['element'];
type Accessory = Exclude<NonNullable<Extract<Block, { type: 'section' }>['accessory']>, { type: 'image' }>;
export type InteractiveElement = Elements | Inputs | Accessory;

/** What a person can click, choose or type into, in the order of the block. */
export function interactiveElements(candidate: Block): InteractiveElement[] {
  if (candidate.type === 'actions') return candidate.elements;
  if (candidate.type === 'input') return [candidate.element];
  if (candidate.type === 'section' && candidate.accessory && candidate.accessory.type !== 'image') {
    return [candidate.accessory];
  }
  return [];
}

export type Choice = { text?: unknown; value: string };

export function optionsOf(element: InteractiveElement): Choice[] {
  const flat = 'options' in element ? (element.options ?? []) : [];
  const grouped =
    'option_groups' in element ? (element.option_groups ?? []).flatMap((group) => group.options) : [];
  return [...flat, ...grouped];
}
