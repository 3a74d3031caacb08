/** What buttons are called that are about several calls at once. */
export const LIST_ACTIONS = {
  /** On the digest card. */
  open: 'cs_list_open',
  /** On the card of identical calls. */
  approveAll: 'cs_alike_approve',
  denyAll: 'cs_alike_deny',
  /** In the list. */
  pick: 'cs_pick',
  next: 'cs_list_next',
  back: 'cs_list_back',
  approve: 'cs_list_approve',
  deny: 'cs_list_deny',
  openOne: 'cs_list_open_one',
} as const;
