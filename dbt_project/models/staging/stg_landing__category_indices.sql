with source as (
    select * from {{ source('landing', 'category_index') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        name,
        category,

        -- values
        value,

        -- timestamps
        source_updated_at,
        date_on,
        issued_at,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
