/** What all replicas remember together, for a while. */
export interface OnceMemory {
  /** True for the first that says this key, false for everybody after. @throws StoreUnavailable */
  firstTime(key: string, forMs: number): Promise<boolean>;
  /** True where it had been said and was not taken since; taking it forgets it. @throws StoreUnavailable */
  take(key: string): Promise<boolean>;
}
