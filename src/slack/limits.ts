/** Slack's own limits, in characters where nothing else is said. https://docs.slack.dev/reference/block-kit */
export const SLACK_LIMITS = {
  /** https://docs.slack.dev/reference/block-kit/blocks */
  messageBlocks: 50,
  modalBlocks: 100,
  /** https://docs.slack.dev/reference/block-kit/blocks/header-block */
  header: 150,
  /** https://docs.slack.dev/reference/block-kit/blocks/section-block */
  sectionText: 3_000,
  sectionField: 2_000,
  sectionFields: 10,
  /** https://docs.slack.dev/reference/block-kit/block-elements/button-element */
  buttonText: 75,
  buttonValue: 2_000,
  accessibilityLabel: 75,
  /** https://docs.slack.dev/reference/block-kit/composition-objects/confirmation-dialog-object */
  confirmTitle: 100,
  confirmText: 300,
  confirmButton: 30,
  /** https://docs.slack.dev/reference/views/modal-views */
  modalTitle: 24,
  modalButton: 24,
  privateMetadata: 3_000,
  /** https://docs.slack.dev/reference/block-kit/block-elements/plain-text-input-element */
  inputLength: 3_000,
  /** https://docs.slack.dev/interactivity/handling-user-interaction#acknowledgment_response */
  ackMs: 3_000,
  /** https://docs.slack.dev/interactivity/handling-user-interaction#modal_responses */
  triggerMs: 3_000,
  /** https://docs.slack.dev/authentication/verifying-requests-from-slack */
  signatureAgeMs: 300_000,
  /** https://docs.slack.dev/reference/app-manifest */
  manifestName: 35,
  manifestDescription: 140,
} as const;

/** Slack's rates. https://docs.slack.dev/apis/web-api/rate-limits */
export const SLACK_RATES = {
  /** chat.postMessage: one a second in a channel; "short bursts" are allowed, and their size is not told. */
  postEveryMs: 1_000,
  postBurst: 3,
  /** chat.update: Tier 3, 50 a minute in a workspace, with room left for everything else. */
  updateEveryMs: 1_300,
  updateBurst: 20,
} as const;

/**
 * What one card may take up. Slack measures a message's blocks as a whole and does not say how
 * (`msg_blocks_too_long`, seen by others from about 12,000 characters of JSON on); these keep well below.
 */
export const CARD_BUDGET = {
  textCharacters: 8_000,
  jsonBytes: 10_000,
  /** Of the parts, in bytes of JSON. Together with the frame they stay below `jsonBytes`: a property test holds that. */
  argumentsBytes: 3_600,
  statedReasonBytes: 700,
  peopleBytes: 1_300,
  outcomeBytes: 600,
  /** Of the same room: what the arguments leave of it; less than this, and it is in the review alone. */
  previewBytes: 200,
  headingBytes: 500,
  /** What a person changed; of the arguments' room as well. */
  changesBytes: 800,
  /** More lines than this and the buttons are out of sight. */
  argumentLines: 40,
  previewLines: 4,
  changesLines: 12,
  statedReasonLines: 6,
} as const;

/** One call on a list of ten: what takes more than this is opened, and approved on its own. */
export const LISTED_CALL = {
  argumentsBytes: 600,
  argumentLines: 12,
  reasonBytes: 300,
  reasonLines: 3,
} as const;

/** One page of a review. */
export const REVIEW_PAGE = { bytes: 7_000, lines: 100 } as const;
